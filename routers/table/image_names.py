"""Image paths as they are written beside a table: relative to its folder, with forward slashes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath


def relative_names(paths: Sequence[Path | None], folder: Path) -> list[str]:
    """A name per path, empty for none. Folders are worked out once each: tables have many images in few folders."""
    beginnings: dict[str, str] = {}
    names = []
    for path in paths:
        if path is None:
            names.append("")
            continue
        parent, name = os.path.split(os.fspath(path))
        if parent not in beginnings:
            beginnings[parent] = PurePath(os.path.relpath(parent or ".", folder)).as_posix()
        beginning = beginnings[parent]
        names.append(name if beginning == "." else f"{beginning}/{name}")
    return names
