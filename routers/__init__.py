"""FORECASTS and LEARNS. Rule: numpy in, numpy out; no price list, no HTTP, nothing of the gateway."""
