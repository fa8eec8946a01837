"""Queries are known again by group and by content, whatever they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from routers.evaluation.leakage import fingerprints, linked, seen
from routers.table.outcome_table import OutcomeTable, merge
from tests.fakes.synthetic import drawn_table


def pictured(hashes: list[str], name: str = "a") -> OutcomeTable:
    """One query an image hash, each a group of its own; an empty hash is a query without image."""
    table, _ = drawn_table(groups=2, candidates=2)
    table = table.take(range(len(hashes)))
    return replace(
        table,
        query_ids=tuple(f"{name}{row}" for row in range(len(hashes))),
        groups=tuple(f"{name}-group{row}" for row in range(len(hashes))),
        image_paths=tuple(Path(f"{one}.png") if one else None for one in hashes),
        details={"image_sha256": tuple(hashes)},
    )


def test_what_was_learned_from_is_seen_again_under_another_name() -> None:
    offline = pictured(["aa", "bb", ""])
    online = replace(pictured(["bb", "cc", ""], "b"), questions=("other", "other", offline.questions[2]))
    assert seen(online, fingerprints(offline)).tolist() == [True, False, True]
    assert seen(offline, fingerprints(offline)).all()
    assert not seen(offline, np.array([], dtype=np.uint32)).any()


def test_a_group_is_known_again_by_its_name() -> None:
    offline = pictured(["aa", "bb"])
    other = replace(pictured(["cc", "dd"], "b"), groups=("x", offline.groups[1]))
    assert seen(other, fingerprints(offline)).tolist() == [False, True]


def test_queries_of_one_image_are_one_group_over_all_tables() -> None:
    whole = linked(merge([pictured(["aa", "bb"]), pictured(["bb", "cc"], "b")]))
    assert whole.groups == ("a-group0", "a-group1", "a-group1", "b-group1")


def test_queries_of_which_nothing_is_kept_are_not_taken_for_each_other() -> None:
    bare = replace(pictured(["", "", ""]), questions=("", "", ""))
    assert len(set(linked(bare).groups)) == 3
    unread = replace(pictured(["", ""]), image_paths=(Path("1.png"), Path("2.png")), questions=("same", "same"))
    assert len(set(linked(unread).groups)) == 2
