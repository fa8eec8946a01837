"""Pacing against other policies, on simulated days."""
