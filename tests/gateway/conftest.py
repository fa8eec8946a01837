"""How hypothesis runs here: no time limit per example (the machine may be busy), and the same examples every time."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("loupe", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("loupe")
