"""Estimates of image and text tokens, compared with published figures."""
