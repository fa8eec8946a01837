"""Two processors are compared by their vectors, and a difference is told from none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.encoder.processors import agreements, main, narrowed


def test_vectors_that_are_the_same_agree_and_others_do_not() -> None:
    rows = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    moved = rows.copy()
    moved[1, 2] += 0.05
    (same,), (other,) = agreements({"text": rows}, {"text": rows}), agreements({"text": rows}, {"text": moved})
    assert (same.holds, same.rows, same.largest_difference) == (True, 3, 0.0)
    assert not other.holds
    assert other.largest_difference == pytest.approx(0.05)


def test_a_vector_that_is_not_a_number_does_not_agree() -> None:
    rows = np.ones((1, 4), dtype=np.float32)
    (found,) = agreements({"text": rows}, {"text": np.full_like(rows, np.nan)})
    assert not found.holds


@pytest.mark.slow
def test_the_processor_agrees_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--texts", "2", "--images", "1", "--under", "env"]) == 0
    printed = capsys.readouterr().out
    assert "env: with" in printed
    assert "text: 2 rows, cosine 1.000000000 at least" in printed
    assert "image: 1 rows" in printed


@pytest.mark.slow
def test_the_bundled_encoder_gives_the_same_vectors_with_the_kernels_of_older_processors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if not narrowed(tmp_path):
        pytest.skip("this processor cannot hide instructions from a process, or there is no C compiler")
    assert main(["--texts", "12", "--images", "3"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("text: 12 rows") == printed.count("image: 3 rows") == 3
