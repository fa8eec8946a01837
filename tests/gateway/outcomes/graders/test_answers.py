"""Where the final answer stands in a free text."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.outcomes.graders.answers import AnswerMatch, final_answer, first_sentence
from gateway.outcomes.graders.plain_text import LONGEST_REPLY, plain
from gateway.outcomes.graders.time_limit import within
from tests.checks.work import calls_of


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("The answer is 42.", "42."),
        ("So 6 x 7 is 42.\n\n**Answer:** 42", "42"),
        ("**Final Answer**: Paris", "Paris"),
        ("Answer:\n\n  blue", "blue"),
        ("The correct answer is option (B).", "option (B)."),
        ("The answer to the question about bars is 7", "7"),
        ("#### 18", "18"),
        ("first 12, then 18\n#### 18", "18"),
        ("<answer> 3\n 4 </answer> that is all", "3 4"),
        (r"We get \boxed{\frac{1}{2}} as wanted.", "1/2"),
        (r"The answer is $\boxed{5}$ cm", "5"),
        (r"\boxed{1} no, wait: \boxed{2}", "2"),
        ("The answer is 4. Hmm, let me look again.\nThe answer is 5", "5"),
        ("The answer is 5. I am sure that this answer is correct.", "5. I am sure that this answer is correct."),
        ("The answer is not 4.\nThe answer is 5.", "5."),
        ("Answer: incorrect", "incorrect"),
        ("This answer is correct.\nAnswer: right", "right"),
        ("ANSWER = ７", "7"),
        ("## Final Answer\n\n**7**\n", "7"),
        ("答案：B", "B"),
        ("The answer (in cm) is 7", "7"),
        ("The answer for the blue bar would be 7", "7"),
    ],
)
def test_what_is_said_to_be_the_answer_counts(reply: str, answer: str) -> None:
    assert final_answer(reply) == AnswerMatch(answer, is_marked=True)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("", ""),
        ("  \n\t\n", ""),
        ("42", "42"),
        ("There are several bars.\nSeven of them are tall.\n\n", "Seven of them are tall."),
        ("answering machines", "answering machines"),
        ("To answer this, the first step is to count them.\n7 bars", "7 bars"),
        ("To answer: count.\n7 bars", "7 bars"),
        ("I would not answer what is none of my business\n7", "7"),
        (r"\boxed{never closed", r"\boxed{never closed"),
    ],
)
def test_without_a_mark_the_last_line_is_the_answer(reply: str, answer: str) -> None:
    assert final_answer(reply) == AnswerMatch(answer, is_marked=False)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("10³ m", "10^3 m"),
        ("1½", "1 1/2"),
        ("½", "1/2"),
        ("−５", "-5"),
        ("٣٫٥", "3.5"),
        ("12\u202f345", "12,345"),
        ("4\u200b2", "42"),
        (r"$\frac{3}{4}$", "3/4"),
        (r"\dfrac34", "3/4"),
        (r"5\,\text{cm}", "5cm"),
        (r"50\%", "50%"),
        (r"1{,}000", "1,000"),
        (r"90^\circ", "90°"),
        (r"3 \times 10^{8}", "3 × 10^8"),
        (r"2\sqrt{3}", "2√(3)"),
        (r"\boxed{\text{\textbf{yes}}}", "yes"),
        (r"\(x = 2\)", "x = 2"),
        ("H₂O", "H2O"),
    ],
)
def test_one_way_to_write_it(written: str, read: str) -> None:
    assert plain(written) == read


def test_a_first_sentence_ends_before_a_reason() -> None:
    assert first_sentence("No, because 3.5 is less") == "No"
    assert first_sentence("3.5 cm. It is 3") == "3.5 cm"


HUGE = [
    "answer " * 400_000,
    r"\frac{" * 400_000,
    "9" * 3_000_000,
    "(" * 3_000_000,
    *(
        pytest.param(reply, marks=pytest.mark.slow)
        for reply in (
            "answer is " * 300_000,
            r"\boxed{" * 400_000,
            r"\frac{1}{" * 300_000,
            "####\n" * 400_000,
            "<answer>" * 300_000,
            "1," * 1_000_000,
            "ﷺ" * 1_000_000,
            "\n" * 3_000_000,
            "- " * 1_000_000,
            "$" * 3_000_000,
            "^{" * 1_000_000,
        )
    ),
]


@pytest.mark.parametrize("reply", HUGE, ids=lambda reply: repr(reply[:9]))
def test_a_huge_reply_takes_no_more_work_than_its_end(reply: str) -> None:
    assert_work_is_that_of_the_end(final_answer, reply)
    assert len(final_answer(reply).text) <= 18 * LONGEST_REPLY


def assert_work_is_that_of_the_end(judge: Callable[[str], object], reply: str) -> None:
    """Check that judging all of a reply calls no more functions than judging its last `LONGEST_REPLY` characters does,
    and says the same; a search that would never end is cut off.
    """
    said: list[object] = []
    with within(60.0):
        calls = calls_of(lambda: said.append(judge(reply)))
    assert calls <= calls_of(lambda: said.append(judge(reply[-LONGEST_REPLY:]))) + 1_000
    assert said[0] == said[1]
    assert calls < 10_000_000
