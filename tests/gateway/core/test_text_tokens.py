"""Token counts from lengths: the expectation and the bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from gateway.core.text_tokens import ceiling_text_tokens, expected_text_tokens


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
