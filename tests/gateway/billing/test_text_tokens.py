"""Token counts from classes of characters: the expectation, against counts of the real tokenizers, and the bound."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gateway.billing.text_tokens import (
    TOKENIZERS,
    ceiling_text_tokens,
    expected_text_tokens,
    shape_of,
    tokenizer_named,
)
from gateway.errors import ConfigError

TEXTS = {
    "english": "How many of the bars in this chart are taller than the one for 1998? Explain briefly, and then answer"
    " with a whole number.",
    "code": 'def total(rows: list[dict[str, float]]) -> float:\n    """The sum of all amounts."""\n'
    '    return sum(row["amount"] for row in rows if row.get("paid"))\n',
    "json": '{"type": "function", "function": {"name": "get_price", "parameters": {"type": "object", "properties":'
    ' {"id": {"type": "string"}}}}}',
    "chinese": "请看这张图表,说明第三季度的收入比第二季度增加了多少,并解释其原因。",
    "japanese": "この図表を見て、第三四半期の売上が前の四半期よりどれだけ増えたかを説明してください。",
    "russian": "Посмотрите на диаграмму и объясните, насколько выросла выручка в третьем квартале.",
    "numbers": "12.5, 1998, 0.333, 47120, 3.14159, 88, 1024, 2048.75, 65536, 7",
    "german": "Wie viele Balken in diesem Diagramm sind höher als der Balken für das Jahr 1998? Bitte kurz begründen.",
}
COUNTED = {
    "openai_o200k": (29, 39, 39, 24, 32, 22, 42, 26),
    "openai_cl100k": (29, 39, 38, 35, 43, 39, 42, 28),
    "anthropic": (31, 46, 40, 35, 38, 34, 43, 37),
    "anthropic_2026": (38, 60, 51, 34, 38, 34, 42, 47),
    "qwen": (31, 39, 38, 20, 29, 30, 62, 29),
    "llama3": (29, 39, 38, 27, 29, 27, 42, 27),
    "llama4": (29, 39, 38, 21, 22, 17, 42, 26),
    "mistral_tekken": (31, 40, 38, 27, 32, 29, 62, 30),
}
"""Tokens of TEXTS, counted with tiktoken 0.14 on the families' own vocabularies, and with ctok 1.3 for Claude."""


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (1, 1), (4, 1), (5, 2), (1_000_000, 250_000)])
def test_expectation_is_a_quarter_of_the_bytes_rounded_up(size: int, expected: int) -> None:
    assert expected_text_tokens(size) == expected


@given(st.integers(0, 10**9))
def test_expectation_never_exceeds_the_ceiling(size: int) -> None:
    assert 0 <= expected_text_tokens(size) <= ceiling_text_tokens(size) <= size + 1


@given(st.text())
def test_byte_level_bpe_stays_within_the_ceiling(text: str) -> None:
    size = len(text.encode())
    assert len(_BYTE_LEVEL.encode(text).ids) <= ceiling_text_tokens(size)


def _byte_level_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog"] * 10, trainer)
    return tokenizer


_BYTE_LEVEL = _byte_level_tokenizer()


@pytest.mark.parametrize("family", COUNTED)
def test_estimates_are_near_the_real_tokenizers_counts(family: str) -> None:
    """Within 45% each, which no rule by bytes alone is: Chinese takes twice what it says, and Russian half."""
    found = [TOKENIZERS[family].expected(shape_of([text])) for text in TEXTS.values()]
    assert found == pytest.approx(COUNTED[family], rel=0.45)
    assert sum(found) == pytest.approx(sum(COUNTED[family]), rel=0.15)


@pytest.mark.parametrize("family", COUNTED)
def test_estimates_are_nearer_than_four_bytes_a_token(family: str) -> None:
    def error(estimates: list[int]) -> float:
        return sum(abs(a - b) / b for a, b in zip(estimates, COUNTED[family], strict=True)) / len(TEXTS)

    ours = error([TOKENIZERS[family].expected(shape_of([text])) for text in TEXTS.values()])
    assert ours < 0.75 * error([expected_text_tokens(len(text.encode())) for text in TEXTS.values()])


@pytest.mark.parametrize("family", COUNTED)
def test_real_counts_stay_within_the_ceiling(family: str) -> None:
    for text, count in zip(TEXTS.values(), COUNTED[family], strict=True):
        assert count <= TOKENIZERS[family].ceiling(shape_of([text]))


@pytest.mark.parametrize("family", TOKENIZERS)
@given(text=st.text() | st.text("0123456789") | st.text("ÀÉ\u0344\ufb01"))
def test_no_text_is_expected_over_its_ceiling(family: str, text: str) -> None:
    shape = shape_of([text])
    assert 0 <= TOKENIZERS[family].expected(shape) <= TOKENIZERS[family].ceiling(shape)


@pytest.mark.parametrize(
    ("text", "tokens"), [("Dp|*;Z!Ab5?", 14), ("Q!Z!X!K!", 10), ("\u0344", 4), ("\ufb01", 5), ("ÉÜÉÜ", 10), ("A", 2)]
)
def test_claudes_marks_of_case_stay_within_its_ceiling(text: str, tokens: int) -> None:
    """Texts of which ctok counts more tokens than bytes, or nearly: a token a byte is no bound for Claude."""
    for family in ("anthropic", "anthropic_2026"):
        assert tokens <= TOKENIZERS[family].ceiling(shape_of([text]))


@given(st.text())
@example("\u0344")
def test_every_byte_is_in_one_class(text: str) -> None:
    shape = shape_of([text])
    in_ascii = shape.lower + shape.upper + shape.digits + shape.spaces + shape.marks
    two = shape.latin + shape.cyrillic + shape.two
    three = shape.indic + shape.symbols + shape.kana + shape.han + shape.hangul
    assert in_ascii + 2 * two + 3 * three + 4 * shape.four == len(text.encode("utf-8", "replace"))
    forms = [text, unicodedata.normalize("NFC", text)]
    assert shape.most_bytes == max(len(form.encode("utf-8", "replace")) for form in forms)


@given(st.lists(st.text()))
def test_pieces_are_counted_as_one(pieces: list[str]) -> None:
    sums = tuple(map(sum, zip(*map(tuple, (shape_of([piece]) for piece in [*pieces, ""])), strict=True)))
    assert tuple(shape_of(pieces)) == sums
    assert shape_of([piece.encode("utf-8", "replace") for piece in pieces])[1:] == sums[1:]


def test_a_tokenizer_that_is_not_known_is_refused_and_the_others_named() -> None:
    with pytest.raises(ConfigError, match="openai_o200k"):
        tokenizer_named("gpt2")
