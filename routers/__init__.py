"""The routers: they FORECAST and LEARN. Rule: numpy in, numpy out; no price list, no HTTP, nothing from the gateway."""
