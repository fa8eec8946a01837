"""Read a request's body and headers once; errors say what, which and the value."""
