"""Texts become the ids that the encoder was trained on, at a bounded cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.base import EncodeError
from models.bundle import bundled
from models.tokenizer import CHARACTERS_PER_TOKEN, TextTokenizer

PATH = bundled("fused-lite") / "tokenizer.json"
CLS, SEP = 101, 102


def test_text_becomes_the_ids_of_its_words() -> None:
    # The ids of BERT's published uncased vocabulary.
    assert TextTokenizer(PATH, 256).ids("Hello, world!").tolist() == [CLS, 7592, 1010, 2088, 999, SEP]


def test_empty_text_is_its_two_marks() -> None:
    assert TextTokenizer(PATH, 256).ids("").tolist() == [CLS, SEP]


def test_long_text_is_cut_and_still_ends_with_its_mark() -> None:
    tokenizer = TextTokenizer(PATH, 16)
    ids = tokenizer.ids("word " * 100)
    assert len(ids) == 16
    assert ids[-1] == SEP


def test_what_lies_beyond_the_cut_changes_nothing() -> None:
    tokenizer = TextTokenizer(PATH, 16)
    head = "word " * (16 * CHARACTERS_PER_TOKEN)
    assert tokenizer.ids(head).tolist() == tokenizer.ids(head + "more " * 100_000).tolist()


def test_nothing_is_padded() -> None:
    assert len(TextTokenizer(PATH, 256).ids("short")) == 3


def test_lone_surrogate_counts_as_a_question_mark() -> None:
    tokenizer = TextTokenizer(PATH, 256)
    assert tokenizer.ids("a \ud83d b").tolist() == tokenizer.ids("a ? b").tolist()


def test_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(EncodeError, match="is not a tokenizer"):
        TextTokenizer(path, 256)
