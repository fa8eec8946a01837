"""The log of decisions, labels and content. Rule: it receives what was decided, and the request path never reads it."""
