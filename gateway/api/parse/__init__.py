"""Parsers that read a request's body and headers once. Their errors say what is wrong, where, and with which value."""
