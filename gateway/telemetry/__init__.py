"""OUTBOUND edge to watchers. Rule: takes finished records; never answers, never slows a request."""
