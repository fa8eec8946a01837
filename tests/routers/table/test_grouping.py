"""Groups: what shares a group, an image or a template is together, through others too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from routers.table.grouping import joined_groups, template
from routers.table.mmr_csv import read_mmr_csv
from routers.table.outcome_table import OutcomeTable
from tests.fakes.synthetic import drawn_table
from tests.shared import SHARED_DATA, needs_shared_data


def table_of(groups: str, images: str, questions: list[str] | None = None) -> OutcomeTable:
    """One row a letter; `-` is a query without image."""
    drawn, _ = drawn_table(groups=len(groups))
    return replace(
        drawn.take(range(len(groups))),
        groups=tuple(groups),
        image_paths=tuple(None if letter == "-" else Path(letter) for letter in images),
        questions=tuple(questions or [f"question {letter * number}" for number, letter in enumerate(groups, 1)]),
    )


def parts(names: tuple[str, ...]) -> set[frozenset[int]]:
    return {frozenset(row for row, other in enumerate(names) if other == name) for name in names}


def test_template_forgets_numbers_case_and_space() -> None:
    assert template("What is  3.5 + 1,000?\n") == template("what is -2 + 7?") == "what is # + #?"
    assert template("What is a?") != template("What is b?")


def test_sharing_is_transitive_across_keys() -> None:
    table = table_of("aabcd", "1-22-")
    assert parts(joined_groups(table)) == {frozenset({0, 1}), frozenset({2}), frozenset({3}), frozenset({4})}
    assert joined_groups(table) == table.groups
    both = joined_groups(table_of("aabcd", "1221-"), by=("group", "image"))
    assert parts(both) == {frozenset({0, 1, 2, 3}), frozenset({4})}
    assert both == ("a", "a", "a", "a", "d")


def test_queries_without_image_share_none() -> None:
    assert len(set(joined_groups(table_of("abc", "---"), by=("image",)))) == 3


def test_equal_files_under_different_names_are_one_image() -> None:
    table = table_of("abc", "123")
    assert len(set(joined_groups(table, by=("image",)))) == 3
    assert parts(joined_groups(table, by=("image",), image_hashes=["x", "y", "x"])) == {
        frozenset({0, 2}),
        frozenset({1}),
    }
    known = replace(table, details={"image_sha256": ("x", "x", "")})
    assert parts(joined_groups(known, by=("image",))) == {frozenset({0, 1}), frozenset({2})}


def test_templates_join_variants() -> None:
    table = table_of("abc", "---", ["What is 3 + 4?", "What is 12 + 5?", "Why?"])
    assert parts(joined_groups(table, by=("template",))) == {frozenset({0, 1}), frozenset({2})}


def test_groups_that_are_no_key_do_not_join() -> None:
    names = joined_groups(table_of("aaa", "112"), by=("image",))
    assert names == ("q0", "q0", "q2")


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("123456-")), min_size=1, max_size=20))
def test_groups_are_the_connected_rows(drawn: list[tuple[str, str]]) -> None:
    groups, images = ("".join(column) for column in zip(*drawn, strict=True))
    found = parts(joined_groups(table_of(groups, images), by=("group", "image")))
    reach = [{row} for row in range(len(drawn))]
    for _ in drawn:  # as far as sharing can lead
        for row, seen in enumerate(reach):
            seen |= {
                other
                for other in range(len(drawn))
                for near in tuple(seen)
                if drawn[other][0] == drawn[near][0] or (drawn[other][1] == drawn[near][1] != "-")
            }
            reach[row] = seen
    assert found == {frozenset(seen) for seen in reach}


def test_unknown_keys_and_hashes_of_another_length_are_refused() -> None:
    table = table_of("ab", "12")
    with pytest.raises(ValueError, match="'colour'; use group, image, template"):
        joined_groups(table, by=("group", "colour"))
    with pytest.raises(ValueError, match="nothing"):
        joined_groups(table, by=())
    with pytest.raises(ValueError, match="1 image hashes for 2 queries"):
        joined_groups(table, by=("image",), image_hashes=["x"])


@pytest.mark.slow
@needs_shared_data
def test_given_groups_of_the_real_tables_cover_their_images() -> None:
    for name, groups in (("DynaMath", 345), ("BlindTest", 3379)):
        table = read_mmr_csv(SHARED_DATA / f"{name}.csv")
        assert len(set(joined_groups(table, by=("group", "image")))) == groups
