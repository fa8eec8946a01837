"""Pacing: spreads a tenant's budget over its period by the price weight (lambda) that its traffic can afford."""
