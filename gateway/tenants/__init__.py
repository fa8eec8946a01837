"""Tenants and their keys: who may ask, what they may spend, how they are managed, where they are kept."""
