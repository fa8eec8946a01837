"""Images as they come in: data URLs, headers, limits, safe URLs, and the guarded fetch."""
