"""CLIP's texts: cleaned as its authors cleaned them, and tokenised with their vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.clip_tokenizer import CONTEXT, clean, clip_tokenizer
from models.tokenizer import TextTokenizer

START, END = 49406, 49407
TOKENIZER = clip_tokenizer()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  A  Photo\n of\ta CAT ", "a photo of a cat"),
        ("“quoted” ‘don’t’", "\"quoted\" 'don't'"),
        ("ＦＵＬＬ　ｗｉｄｔｈ ﬁne", "full width fine"),
        ("1 &lt; 2 &amp;amp; 3", "1 < 2 & 3"),
        ("<b>&amp;</b>", "<b>&</b>"),
        ("&amp;amp;lt;", "<"),
        ("\x1b[31mred\x1b[0m \x00\ufeff", "red"),
        ("e\u0301", "é"),
        ("a\r\nb\u2028c", "a b c"),
        ("ΑΣ İ", "ας i̇"),
        ("", ""),
    ],
)
def test_text_is_cleaned(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text())
def test_cleaned_text_has_single_blanks_and_no_controls(text: str) -> None:
    cleaned = clean(text)
    assert cleaned == " ".join(cleaned.split())
    assert "\x00" not in cleaned or "&" in text  # an entity may still name one


def test_text_becomes_the_ids_of_the_published_vocabulary() -> None:
    # As in CLIP's own notebook and tests.
    assert TOKENIZER.encode("hello world!").ids == [START, 3306, 1002, 256, END]
    assert TOKENIZER.encode("a photo of a cat").ids == [START, 320, 1125, 539, 320, 2368, END]
    assert TOKENIZER.get_vocab_size() == END + 1


def test_empty_text_is_its_two_marks() -> None:
    assert TOKENIZER.encode("").ids == [START, END]


def test_every_character_has_ids() -> None:
    for text in ("你好", "\U0001f600", "ß", "\x7f", "½"):
        assert len(TOKENIZER.encode(text).ids) > 2


def test_long_text_is_cut_to_the_context_and_ends_with_its_mark(tmp_path: Path) -> None:
    clip_tokenizer().save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer(tmp_path / "tokenizer.json", CONTEXT, "clip")
    ids = tokenizer.ids("Word " * 500)
    assert len(ids) == CONTEXT
    assert (ids[0], ids[-1]) == (START, END)
    assert set(ids[1:-1].tolist()) == set(TOKENIZER.encode("word").ids[1:-1])


def test_cleaning_of_hostile_text_takes_no_time() -> None:
    entities = "&amp;" * 400 + "amp;" * 400
    assert clean(entities).count("&") == 400
