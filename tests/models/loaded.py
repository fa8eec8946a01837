"""The bundled encoder, loaded once for all tests of a process: most of a small test's time."""

from __future__ import annotations

from functools import cache

from models.bundle import bundled
from models.dual_encoder import DualEncoder


@cache
def fused_lite() -> DualEncoder:
    """For tests of what is done with it; tests of loading load their own."""
    return DualEncoder.load(bundled("fused-lite"))
