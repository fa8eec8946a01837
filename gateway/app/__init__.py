"""The composition root: opens every service, builds the ASGI application, reloads configuration, starts workers."""
