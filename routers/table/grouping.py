"""Groups of queries that belong together because they share a given group, an image or a question's template.

Rule: queries that belong together are never on both sides of a split; sharing is transitive.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from routers.table.outcome_table import OutcomeTable

KEYS = ("group", "image", "template")
"""The keys by which queries can belong together."""

_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*")
_SPACE = re.compile(r"\s+")


def template(question: str) -> str:
    """Return the question in lower case with every number as `#` and single spaces; this is equal for its variants."""
    return _SPACE.sub(" ", _NUMBER.sub("#", question.lower())).strip()


def joined_groups(
    table: OutcomeTable, *, by: Collection[str] = ("group",), image_hashes: Sequence[str | None] | None = None
) -> tuple[str, ...]:
    """Return n names of groups: queries that share a key of `by`, directly or through other queries, get the same name.

    The name is the group of the first such query, or the query's id where `by` does not contain `group`.

    `image` compares `image_hashes` (n, None without image); without hashes, the table's own `image_sha256` column,
    else its image paths. Raises ValueError for an unknown key, for no key, or for hashes of another length.
    """
    unknown = [key for key in by if key not in KEYS]
    if unknown or not by:
        raise ValueError(
            f"queries cannot be grouped by {unknown[0] if unknown else 'nothing'!r}; use {', '.join(KEYS)}"
        )
    if image_hashes is not None and len(image_hashes) != len(table):
        raise ValueError(f"{len(image_hashes)} image hashes for {len(table)} queries")
    columns = [_shared(table, key, image_hashes) for key in by]
    rows = zip(*columns, strict=True)
    roots = first_alike([[(place, shared) for place, shared in enumerate(row) if shared is not None] for row in rows])
    names = table.groups if "group" in by else table.query_ids  # both are distinct among roots
    return tuple(names[root] for root in roots)


def first_alike(keys: Sequence[Iterable[Hashable]]) -> list[int]:
    """Return for each row the number of the first row that shares a key with it, directly or through other rows."""
    parents = np.arange(len(keys))
    first: dict[Hashable, int] = {}
    for row, own in enumerate(keys):
        for key in own:
            _join(parents, first.setdefault(key, row), row)
    return [_root(parents, row) for row in range(len(keys))]


def _shared(table: OutcomeTable, key: str, image_hashes: Sequence[str | None] | None) -> Sequence[str | None]:
    if key == "group":
        return table.groups
    if key == "template":
        return [template(question) for question in table.questions]
    if image_hashes is not None:
        return image_hashes
    if "image_sha256" in table.details:
        return [known or None for known in table.details["image_sha256"]]
    return [None if path is None else str(path) for path in table.image_paths]


def _join(parents: NDArray[np.intp], one: int, other: int) -> None:
    """Join two groups; the smaller root becomes the root of both, so that a group is named after its first query."""
    one, other = _root(parents, one), _root(parents, other)
    parents[max(one, other)] = min(one, other)


def _root(parents: NDArray[np.intp], row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = int(parents[row])
    return row
