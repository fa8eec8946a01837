"""The quality and speed of routers on outcome tables."""
