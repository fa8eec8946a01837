"""OUTBOUND edge to state. Rule: keeps what it is told and decides nothing but whether a hold fits."""
