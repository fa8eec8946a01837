"""Numbers in answers, and how near they have to be."""

from __future__ import annotations

from fractions import Fraction

import pytest

from gateway.outcomes.graders.base import BadReference, Reference
from gateway.outcomes.graders.numbers import numbers_in
from gateway.outcomes.graders.numeric import Numeric
from tests.gateway.outcomes.graders.test_answers import HUGE, assert_work_is_that_of_the_end


def is_right(reply: str, answer: str, grader: Numeric | None = None) -> bool:
    return (grader or Numeric()).grade(reply, Reference(answer)).score == 1.0


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("42", "42"),
        ("The answer is 42.", "42"),
        ("It is 42 (6 times 7).\nAnswer: 42", "42"),
        ("Answer: 1,234,567", "1234567"),
        ("Answer: 1\u2009234", "1234"),
        ("$1,200.50", "1200.5"),
        ("€ 1,200.50", "1200.5"),
        ("50%", "0.5"),
        ("0.5", "50%"),
        ("50 percent", "50%"),
        ("50%", "50"),
        ("3/4", "0.75"),
        ("0.75", "3/4"),
        ("1 1/2", "1.5"),
        ("1½", "1.5"),
        (r"\boxed{\frac{7}{12}}", "0.5833"),
        ("1.2e3", "1200"),
        ("1.2 × 10^3", "1200"),
        (r"$1.2 \times 10^{-3}$", "0.0012"),
        ("1.2 x 10³", "1200"),
        ("−5", "-5"),
        ("x = -5", "-5"),
        ("3 + 4 = 7", "7"),
        ("Answer: 3 + 4 = 7", "7"),
        ("The answer is 3 of the 5 bars", "3"),
        ("Of 20 bars there are 7 that are taller than 4, and 13 that are not.\nAnswer: 7", "7"),
        ("There are 12 bars.\nOf these 5 are blue, which leaves 7", "7"),
        ("2π", "6.2832"),
        (r"\frac{2\pi}{3}", "2.0944"),
        ("π/2", "1.5708"),
        ("2√3", "3.4641"),
        (r"$\sqrt{2}$", "1.4142"),
        ("the answer is seven", "7"),
        ("Seven", "7"),
        ("٤٢", "42"),
        ("４２", "42"),
        ("2.094", "2.0944"),
        ("54", "54.0"),
        ("9.0", "9"),
        ("5 cm", "5"),
        ("5 centimeters", "5 cm"),
        ("5", "5 cm"),
        ("30°", "30"),
        ("30 degrees", "30°"),
        ("0.58", '["7/12", "0.58"]'),
        ("approx. 5 cm", "5"),
        ("y = 4", "y = 4"),
        (".5", "0.5"),
    ],
)
def test_right_numbers(reply: str, answer: str) -> None:
    assert is_right(reply, answer)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("", "42"),
        ("none", "0"),
        ("43", "42"),
        ("59011", "59010"),
        ("The answer is 3 or 4", "4"),
        ("3, 4, 5", "3"),
        ("between 3 and 5", "5"),
        ("3-5", "5"),
        ("10³", "103"),
        ("1½", "5.5"),
        ("2π", "2"),
        ("√2", "2"),
        ("2√3", "2"),
        ("GPT-4", "4"),
        ("incorrect-7", "7"),
        ("x7", "7"),
        ("version 1.2.3", "1.2"),
        ("-5", "5"),
        ("5 km", "5 m"),
        ("5 m^2", "5 m"),
        ("96.09", "96.0"),
        ("0.5", "0.51"),
        ("5%", "0.5"),
        ("1/0", "1"),
        ("9" * 5_000, "9"),
        ("1e999", "1"),
        ("somebody said that two or one of them", "1"),
        ("The answer is not 5.", "42"),
    ],
)
def test_wrong_numbers(reply: str, answer: str) -> None:
    assert not is_right(reply, answer)


def test_tolerances_are_what_they_are_told_to_be() -> None:
    assert is_right("101", "100", Numeric(relative=Fraction(1, 100)))
    assert not is_right("101.1", "100", Numeric(relative=Fraction(1, 100)))
    assert is_right("100.5", "100", Numeric(absolute=Fraction(1, 2)))
    assert not is_right("100.6", "100", Numeric(absolute=Fraction(1, 2)))
    assert is_right("100.6", "100", Numeric(Fraction(1, 2), Fraction(1, 100)))
    assert not is_right("2.0944001", "2.0944", Numeric(absolute=Fraction(0)))
    assert Numeric(Fraction(1, 2), Fraction(1, 100)).version == "numeric/1?abs=0.5,rel=0.01"


@pytest.mark.parametrize("answer", ["", "yes", "1, 2", "3 of 5", "Q2", "9" * 2_000])
def test_an_answer_that_is_not_one_number_is_refused(answer: str) -> None:
    with pytest.raises(BadReference, match="answer"):
        Numeric().check(Reference(answer))


def test_numbers_are_found_where_they_stand() -> None:
    text = "from -1.5 to 2,000 N (3/4)"
    found = [(float(number.value), text[number.start : number.end], number.unit) for number in numbers_in(text)]
    assert found == [(-1.5, "-1.5", ""), (2000.0, "2,000 N", "N"), (0.75, "3/4", "")]


@pytest.mark.parametrize("reply", HUGE, ids=lambda reply: repr(reply[:9]))
def test_a_huge_reply_is_judged_with_the_work_of_its_end(reply: str) -> None:
    assert not is_right(reply, "12345")
    assert_work_is_that_of_the_end(lambda text: is_right(text, "12345"), reply)
