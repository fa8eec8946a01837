"""The router algorithms, one per file. One line in `routers/registry.py` registers a new algorithm."""
