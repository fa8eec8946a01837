"""Tenants and their keys: which requests they may make, what they may spend, how they are managed and stored."""
