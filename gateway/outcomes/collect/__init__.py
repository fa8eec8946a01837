"""ASKS every candidate about every row of a data set, and keeps what came of it.

Rule: nothing is sent before it stands in the journal with what it may cost; what stands there answered is never asked
again. Providers come in as the gateway's own; nothing here knows how tables are written or what an encoder is.
"""
