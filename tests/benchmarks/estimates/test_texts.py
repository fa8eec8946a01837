"""The arithmetic of the comparison of text estimates, without a tokenizer."""

from __future__ import annotations

import pytest

from benchmarks.estimates.texts import FAMILIES, FOREIGN, errors, texts
from gateway.billing.text_tokens import TOKENIZERS, expected_text_tokens, shape_of


def test_an_estimate_that_is_the_count_has_no_error() -> None:
    kinds = {"German": [FOREIGN["German"]] * 2}
    counted = {
        vocabulary: [TOKENIZERS[family].expected(shape_of([FOREIGN["German"]]))] * 2
        for family, vocabulary in FAMILIES.items()
    }
    for row in errors(kinds, counted):
        assert row["ours"] == row["ours_total"] == 0
        assert row["four_bytes"] == pytest.approx(abs(row["four_bytes_total"]))


def test_each_kind_is_held_against_its_own_counts() -> None:
    kinds = {"one": ["a" * 400], "other": ["b" * 40, "c" * 40]}
    counted = {vocabulary: [200, 5, 20] for vocabulary in FAMILIES.values()}
    one, _, other, _ = errors(kinds, counted)
    assert expected_text_tokens(400) == 100
    assert (one["four_bytes"], one["four_bytes_total"], one["tokens"]) == pytest.approx((0.5, -0.5, 200))
    assert (other["four_bytes"], other["four_bytes_total"], other["tokens"]) == pytest.approx((0.75, -0.2, 25))


def test_texts_are_the_same_every_time() -> None:
    first = texts(None)
    assert first == texts(None)
    assert len(first["code"]) == 200
    assert set(FOREIGN) < set(first)
