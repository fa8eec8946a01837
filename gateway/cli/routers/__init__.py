"""Commands that train, judge and promote routers: one file per command."""
