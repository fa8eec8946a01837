"""The cost that the gateway adds to a request, compared with a pass-through."""
