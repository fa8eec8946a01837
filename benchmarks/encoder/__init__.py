"""What the encoder costs, alone and in a request."""
