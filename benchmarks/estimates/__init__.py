"""Estimates of image and text tokens against published figures."""
