"""Texts that are the same."""

from __future__ import annotations

import pytest

from gateway.outcomes.graders.base import BadReference, Reference
from gateway.outcomes.graders.exact import Exact
from tests.gateway.outcomes.graders.test_answers import HUGE, assert_work_is_that_of_the_end


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Answer: Mar", "Mar"),
        ("the answer is paris.", "Paris"),
        ("Paris, because it is the capital", "Paris,"),
        ("The answer is Paris because of the tower.", "Paris"),
        ("[2,0, 3 ,0,3]", "[2, 0, 3, 0, 3]"),
        ("(-2, 6)", "(-2.000, 6.000)"),
        ("y=-2", "y = −2"),
        (r"\boxed{x = 0}", "x = 0"),
        ("The Eiffel  Tower", "eiffel tower"),
        ("ｆｕｌｌ", "full"),
        ("two", '["2", "two"]'),
        ('"quoted"', "quoted"),
    ],
)
def test_the_same(reply: str, answer: str) -> None:
    assert Exact().grade(reply, Reference(answer)).score == 1.0


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("March", "Mar"),
        ("not Paris", "Paris"),
        ("(2, 6)", "(-2, 6)"),
        ("10", "1"),
        ("1.5", "1.50001"),
        ("", "x"),
        ("Answer: incorrect", "correct"),
        ("2 0 3", "[2, 0, 3]"),
    ],
)
def test_not_the_same(reply: str, answer: str) -> None:
    assert Exact().grade(reply, Reference(answer)).score == 0.0


def test_an_empty_answer_can_not_be_met() -> None:
    for answer in ("", "  ", '["x", ""]'):
        with pytest.raises(BadReference, match="empty"):
            Exact().check(Reference(answer))


@pytest.mark.parametrize("reply", HUGE, ids=lambda reply: repr(reply[:9]))
def test_a_huge_reply_is_judged_with_the_work_of_its_end(reply: str) -> None:
    assert Exact().grade(reply, Reference("x")).score == 0.0
    assert_work_is_that_of_the_end(lambda text: Exact().grade(text, Reference("x")), reply)
