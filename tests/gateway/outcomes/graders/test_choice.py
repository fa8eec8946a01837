"""Multiple choice: what counts as naming an option."""

from __future__ import annotations

import pytest

from gateway.outcomes.graders.base import BadReference, Reference
from gateway.outcomes.graders.choice import Choice, listed_options, options_of, read_options
from tests.gateway.outcomes.graders.test_answers import HUGE, assert_work_is_that_of_the_end

QUESTION = "What is it? (A) a cat (B) a dog (C) neither cat nor dog (D) not to be told"


def chosen(reply: str, question: str = QUESTION) -> str:
    grade = Choice().grade(reply, Reference("A", question))
    assert grade.score == (grade.answer == "A")
    return grade.answer


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("**B**", "B"),
        (r"$\boxed{B}$", "B"),
        ("Ｂ", "B"),
        ("The answer is (B)", "B"),
        ("The answer is B, because (A) is too small.", "B"),
        ("The answer is B because a cat is smaller.", "B"),
        ("The correct answer is option B.", "B"),
        ("Answer: B) a dog", "B"),
        ("B. a dog", "B"),
        ("a dog", "B"),
        ("A dog", "B"),
        ("The answer is a dog.", "B"),
        ("A cat", "A"),
        ("It must be a dog", "B"),
        ("Neither cat nor dog", "C"),
        ("It is neither cat nor dog", "C"),
        ("(B)\nFor a cat would be smaller.", "B"),
        ("There is a cat, and a dog.\nAnswer: D", "D"),
        ("I think the answer would be choice C", "C"),
        ("<answer>C</answer>", "C"),
    ],
)
def test_the_option_that_is_named(reply: str, letter: str) -> None:
    assert chosen(reply) == letter


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "E",
        "A or B",
        "(A) and (B)",
        "Either A or C",
        "Absolutely nothing",
        "Dogma",
        "I cannot say",
        "A big question",
        "Both a cat and a dog",
        "ABCD",
    ],
)
def test_no_option_or_several_are_none(reply: str) -> None:
    assert chosen(reply) == ""


def test_without_options_any_lone_letter_is_one() -> None:
    question = "Which node is visited first?"
    assert chosen("Answer: D", question) == "D"
    assert chosen("Node D is visited first", question) == "D"
    assert chosen("A node is visited", question) == ""


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("x? choice: (A) Yes (B) No", {"A": "Yes", "B": "No"}),
        ("x?\nA. one\nB. two\nC. three", {"A": "one", "B": "two", "C": "three"}),
        ("x? A) one B) two", {"A": "one", "B": "two"}),
        ("(A) 30, 23, 22, and 2  (B) 23, 22, 29, and 2", {"A": "30, 23, 22, and 2", "B": "23, 22, 29, and 2"}),
        ("Is (B) before (C)?", {}),
        ("Of triangle (A) only", {}),
    ],
)
def test_options_that_a_question_lists(text: str, options: dict[str, str]) -> None:
    assert listed_options(text) == options


def test_options_of_a_cell() -> None:
    wanted = {"A": "yes", "B": "no"}
    assert read_options('["yes", "no"]') == read_options('{"a": "yes", "B": "no"}') == wanted
    assert read_options("(A) yes (B) no") == wanted
    assert options_of(Reference("A", QUESTION, wanted)) == wanted
    for bad in ("", "yes, no", '["yes"]', '{"one": "yes", "two": "no"}', "[1", "{}"):
        with pytest.raises(BadReference, match="options"):
            read_options(bad)


def test_the_known_answer_may_be_an_options_text_and_must_be_an_option() -> None:
    assert Choice().grade("B", Reference("A dog", QUESTION)).score == 1.0
    for answer in ("E", "a horse", ""):
        with pytest.raises(BadReference, match="answer"):
            Choice().check(Reference(answer, QUESTION))


@pytest.mark.parametrize("reply", HUGE, ids=lambda reply: repr(reply[:9]))
def test_a_huge_reply_is_judged_with_the_work_of_its_end(reply: str) -> None:
    assert chosen(reply) == ""
    assert_work_is_that_of_the_end(chosen, reply)
