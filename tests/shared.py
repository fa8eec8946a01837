"""The real outcome tables and images that some tests read, in place, beside this repository."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="../shared/data is not there")


def shared_images(count: int) -> list[Path]:
    """So many real JPEG files, spread over both tables."""
    paths = sorted(SHARED_DATA.rglob("*.jpg"))
    return paths[:: len(paths) // count][:count]
