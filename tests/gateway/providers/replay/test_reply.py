"""The text of answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.replay.reply import cut, final_answer, right_answer, speak, wrong_answer

ANSWERS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


@given(ANSWERS, st.integers(min_value=6, max_value=900))
def test_reply_is_as_long_as_its_tokens_and_ends_in_its_answer(answer: str, tokens: int) -> None:
    spoken = speak(answer, tokens, None)
    assert spoken.tokens == tokens
    assert (len(spoken.text) + 3) // 4 == tokens
    assert spoken.text.endswith(f"Answer: {answer}")


@given(ANSWERS, st.integers(min_value=1, max_value=80), st.integers(min_value=1, max_value=90))
def test_pieces_add_up_to_the_text_and_a_cut_keeps_its_start(answer: str, tokens: int, limit: int) -> None:
    whole = speak(answer, tokens, None)
    spoken = speak(answer, tokens, limit)
    assert "".join(spoken.piece(start, start + 1) for start in range(spoken.tokens)) == spoken.text
    assert spoken.tokens == min(tokens, limit)
    assert spoken.is_cut == (limit < tokens)
    assert whole.text.startswith(spoken.text)


def test_final_answer_is_the_last_one_or_none_where_the_reply_was_cut() -> None:
    assert final_answer(speak("12.5", 60, None).text) == "12.5"
    assert final_answer(speak("12.5", 60, 30).text) is None
    assert final_answer(speak("12.5", 1, None).text) == "12.5"
    assert final_answer(cut(speak("12.5", 60, None), 1).text) is None


@given(st.one_of(st.just(""), st.sampled_from("ABCDE"), st.integers().map(str), ANSWERS), ANSWERS)
def test_wrong_answer_is_another_one_and_always_the_same(answer: str, salt: str) -> None:
    wrong = wrong_answer(answer, salt)
    assert wrong == wrong_answer(answer, salt)
    assert wrong != right_answer(answer)


def test_wrong_choice_is_another_choice_and_wrong_number_another_number() -> None:
    assert {wrong_answer("B", str(salt)) for salt in range(50)} == set("ACDE")
    assert all(wrong_answer("-3", str(salt)).lstrip("-").isdecimal() for salt in range(50))
