"""What the gateway adds to a request, against a pass-through."""
