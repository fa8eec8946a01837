"""Pacing: spread a tenant's budget over its period by the price of quality that its traffic can afford."""
