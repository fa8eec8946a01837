"""Maps from a query's views to the features that routers learn from."""
