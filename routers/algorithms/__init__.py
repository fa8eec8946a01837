"""One router algorithm a file. A new one is registered by one line in `routers/registry.py`."""
