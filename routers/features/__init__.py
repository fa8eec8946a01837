"""Maps from a query's vectors to the features that routers learn from."""
