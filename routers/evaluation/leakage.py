"""Fingerprints of training queries, so that a router is never judged on a query that it learned from.

An artifact carries fingerprints of its training rows and nothing else about them. Fingerprints are of a query's group
and of its content, so they recognise the query everywhere: in another export, under another id, or in a table in which
its group has another name.
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
"""Sorted and distinct: 32 bits of the sha256 of each group's name and each content. Among ten thousand queries that
were never seen, one is mistaken for seen in about one of forty tables; the router then learns from this query instead
of being judged on it."""


def linked(table: OutcomeTable) -> OutcomeTable:
    """Return the table with groups joined where queries have equal content.

    Equal content is the same image, or for queries without image the same text. Tables of different origin use
    different group names, but can share queries.
    """
    return replace(table, groups=joined_groups(table, by=("group", "image"), image_hashes=_contents(table)))


def fingerprints(table: OutcomeTable) -> Fingerprints:
    """Return the fingerprints of all rows. Pass the table as it was read, because `linked` renames groups."""
    return np.unique(np.array([print_ for row in _keys(table) for print_ in row], dtype=np.uint32))


def seen(table: OutcomeTable, learned_from: Fingerprints) -> Mask:
    """Return [n] the mask of rows whose group or content is among the fingerprints."""
    known = set(learned_from.tolist())
    return np.array([any(print_ in known for print_ in row) for row in _keys(table)], dtype=np.bool_)


def _keys(table: OutcomeTable) -> Iterator[tuple[int, ...]]:
    for group, content in zip(table.groups, _contents(table), strict=True):
        keys = [f"group:{group}"] if content is None else [f"group:{group}", f"content:{content}"]
        yield tuple(int.from_bytes(hashlib.sha256(key.encode("utf-8", "replace")).digest()[:4]) for key in keys)


def _contents(table: OutcomeTable) -> list[str | None]:
    """Return what identifies each query: its image, or its text if it has no image; None if the table has neither."""
    images = table.details.get("image_sha256", ("",) * len(table))
    rows = zip(images, table.questions, table.image_paths, strict=True)
    return [image or (f"text:{text}" if text and path is None else None) for image, text, path in rows]
