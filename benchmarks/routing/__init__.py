"""Routers' quality and speed on outcome tables."""
