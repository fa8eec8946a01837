"""A pool of unlike providers, and the laws that the gateway keeps before it."""
