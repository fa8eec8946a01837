"""What a table says of its image files: their sha256, which finds equal ones, and their size in pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.images.header import HeaderIncomplete, NotAnImage, image_size
from routers.table.outcome_table import OutcomeTable

Progress = Callable[[int, int], None]
"""Called with how many images were read and how many there are."""


@dataclass(frozen=True, slots=True)
class _Facts:
    sha256: str = ""
    width: str = ""
    height: str = ""


_NONE = _Facts()


def with_image_facts(table: OutcomeTable, progress: Progress) -> tuple[OutcomeTable, int]:
    """The table with `image_sha256`, `image_width` and `image_height`, and how many of its images are not there.

    Sizes that the table states itself are left as they are: a stored image may be smaller than the one that was
    asked about. What cannot be read stays empty.
    """
    paths = list(dict.fromkeys(path for path in table.image_paths if path is not None))
    facts: dict[Path, _Facts] = {}
    for done, path in enumerate(paths, start=1):
        facts[path] = _read(path)
        progress(done, len(paths))
    found = [_NONE if path is None else facts[path] for path in table.image_paths]
    details = dict(table.details)
    if any(fact.sha256 for fact in found) or "image_sha256" in details:
        known = details.get("image_sha256", ("",) * len(table))
        details["image_sha256"] = tuple(fact.sha256 or old for fact, old in zip(found, known, strict=True))
    if "image_width" not in details and "image_height" not in details and any(fact.width for fact in found):
        details["image_width"] = tuple(fact.width for fact in found)
        details["image_height"] = tuple(fact.height for fact in found)
    missing = sum(not facts[path].sha256 for path in paths)
    return replace(table, details=details), missing


def _read(path: Path) -> _Facts:
    try:
        content = path.read_bytes()
    except OSError:
        return _NONE
    digest = hashlib.sha256(content).hexdigest()
    try:
        header = image_size(content)
    except (NotAnImage, HeaderIncomplete):
        return _Facts(digest)
    return _Facts(digest, str(header.width), str(header.height))
