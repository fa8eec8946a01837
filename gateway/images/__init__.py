"""Incoming images: data URLs, headers, limits, safe URLs, the guarded fetch; and how long sound and PDF files are."""
