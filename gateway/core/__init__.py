"""DECIDES. Rule: standard library only; no I/O, no await, no clock, no settings."""
