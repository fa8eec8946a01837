"""Money and what it is computed from: prices, tokens, windows, reservations, and the contract of a budget store.

Rule: no I/O, no clock and no await; amounts are integers of nanodollars.
"""
