"""What a router learned from, so that it is never judged on it: queries are known again by group and by content.

An artifact carries fingerprints of its training rows and nothing else of them. They tell a query again wherever it
turns up: in another export, under another id, or in a table in which its group has another name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from routers.table.grouping import joined_groups
from routers.table.outcome_table import Mask, OutcomeTable

Fingerprints = NDArray[np.uint32]
"""Sorted and distinct: 32 bits of the sha256 of each group's name and each content. One of ten thousand queries that
were never seen passes for seen once in some forty tables; it is then learned from instead of being judged on."""


def linked(table: OutcomeTable) -> OutcomeTable:
    """The table whose groups also hold queries of equal content together: the same image, or without one the same text.

    Tables of different origin name their groups apart, and share queries all the same.
    """
    return replace(table, groups=joined_groups(table, by=("group", "image"), image_hashes=_contents(table)))


def fingerprints(table: OutcomeTable) -> Fingerprints:
    """Of all rows. Take them from the table as it was read: `linked` renames groups."""
    return np.unique(np.array([print_ for row in _keys(table) for print_ in row], dtype=np.uint32))


def seen(table: OutcomeTable, learned_from: Fingerprints) -> Mask:
    """[n]: the rows whose group or content is among the fingerprints."""
    known = set(learned_from.tolist())
    return np.array([any(print_ in known for print_ in row) for row in _keys(table)], dtype=np.bool_)


def _keys(table: OutcomeTable) -> Iterator[tuple[int, ...]]:
    for group, content in zip(table.groups, _contents(table), strict=True):
        keys = [f"group:{group}"] if content is None else [f"group:{group}", f"content:{content}"]
        yield tuple(int.from_bytes(hashlib.sha256(key.encode("utf-8", "replace")).digest()[:4]) for key in keys)


def _contents(table: OutcomeTable) -> list[str | None]:
    """What a query is known by: its image, or its text where it has none; None where the table tells neither."""
    images = table.details.get("image_sha256", ("",) * len(table))
    rows = zip(images, table.questions, table.image_paths, strict=True)
    return [image or (f"text:{text}" if text and path is None else None) for image, text, path in rows]
