"""Outcome tables: queries by candidates, their formats, weights and splits. A missing cell is missing, never 0."""
