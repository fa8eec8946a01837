"""ANLS as its authors define it, and the distance it stands on."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outcomes.graders.anls import Anls, edit_distance, similarity
from gateway.outcomes.graders.base import BadReference, Reference
from tests.gateway.outcomes.graders.test_answers import HUGE, assert_work_is_that_of_the_end


def slow_distance(first: str, second: str) -> int:
    """Levenshtein's distance by its definition."""
    row = list(range(len(second) + 1))
    for place, a in enumerate(first, 1):
        row_before, row = row, [place]
        for column, b in enumerate(second, 1):
            row.append(min(row_before[column - 1] + (a != b), row_before[column] + 1, row[-1] + 1))
    return row[-1]


@given(st.text("abc", max_size=12), st.text("abc", max_size=12), st.integers(0, 14))
def test_the_distance_is_levenshteins_up_to_the_most(first: str, second: str, most: int) -> None:
    assert edit_distance(first, second, most) == min(slow_distance(first, second), most + 1)


@pytest.mark.parametrize(
    ("reply", "answer", "score"),
    [
        ("Coca-Cola", "coca-cola", 1.0),
        ("Coca Cola", "Coca-Cola", 1 - 1 / 9),
        ("abcd", "abxx", 0.5),
        ("abcd", "axxx", 0.0),
        ("The sign reads\nAnswer: STOP", "stop", 1.0),
        ("stop  sign", "Stop sign", 1.0),
        ("", "stop", 0.0),
        ("two", '["2", "twos"]', 0.75),
    ],
)
def test_scores(reply: str, answer: str, score: float) -> None:
    assert Anls().grade(reply, Reference(answer)).score == pytest.approx(score)


def test_the_threshold_is_named_where_it_is_another() -> None:
    assert Anls().version == "anls/1"
    strict = Anls(Fraction(4, 5))
    assert strict.version == "anls/1?threshold=0.8"
    assert strict.grade("abcd", Reference("abcx")).score == 0.0
    assert similarity("", "") == 1.0


def test_an_answer_that_is_too_long_is_refused() -> None:
    with pytest.raises(BadReference, match="2,000 characters"):
        Anls().check(Reference("x" * 2_000))


@pytest.mark.parametrize("reply", [*HUGE, "ab" * 600], ids=lambda reply: repr(reply[:9]))
def test_a_huge_reply_is_judged_with_the_work_of_its_end(reply: str) -> None:
    assert Anls().grade(reply, Reference("ba" * 500)).score < 1.0
    assert_work_is_that_of_the_end(lambda text: Anls().grade(text, Reference("ba" * 500)), reply)
