"""Incoming images: data URLs, headers, limits, safe URLs, and the guarded fetch."""
