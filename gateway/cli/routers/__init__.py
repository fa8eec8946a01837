"""Commands that train, judge and promote routers: one file a command."""
