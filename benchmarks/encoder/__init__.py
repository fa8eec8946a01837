"""The cost of the encoder, alone and in a request."""
