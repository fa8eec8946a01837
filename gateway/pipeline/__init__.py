"""The life of a request: decide, reserve, send, relay, settle, record."""
