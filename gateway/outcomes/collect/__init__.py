"""Asking every candidate about every row of a data set, and keeping the outcomes.

Rule: nothing is sent before the journal has it with its largest possible cost; what the journal has as answered is
never asked again. Providers are the gateway's own; nothing here knows how tables are written or what an encoder is.
"""
