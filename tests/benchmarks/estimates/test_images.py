"""The comparison of image estimates, without LiteLLM: ours against the published counts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.estimates.image_cases import DIFFERENT, PUBLISHED
from benchmarks.estimates.images import compared, markdown, measure, summary, their_counts


def test_ours_is_exact_on_every_published_case() -> None:
    result = measure(None)
    assert result["ours"] == {
        "cases": len(PUBLISHED),
        "exact": len(PUBLISHED),
        "mean_absolute_error": 0,
        "least": 0,
        "greatest": 0,
    }
    assert result["litellm"] == {}
    assert len({(row["family"], row["width"], row["height"], row["detail"]) for row in result["rows"]}) >= 12


def test_errors_are_shares_of_the_published_count() -> None:
    _, rows = compared(PUBLISHED[:2], None)
    rows[0]["litellm"], rows[1]["litellm"] = rows[0]["tokens"] * 2, rows[1]["tokens"] // 5
    found = summary(rows, "litellm")
    assert (found["exact"], found["least"], found["greatest"]) == (0, -0.8, 1.0)
    assert found["mean_absolute_error"] == 0.9


def test_the_table_names_every_case_with_its_source_and_where_we_differ() -> None:
    table = markdown(measure(None))
    for case in (*PUBLISHED, *(case for case, _ in DIFFERENT)):
        assert (
            f"| {case.family} | {case.model} | {case.width}x{case.height} | {case.detail} | {case.tokens:,} |" in table
        )
        assert case.source in table
    assert "Loupe: " in table


def test_a_counter_that_fails_says_so(tmp_path: Path) -> None:
    (tmp_path / "litellm.py").write_text("raise RuntimeError('not this one')\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(SystemExit, match="not this one"):
        their_counts(str(python), PUBLISHED[:1])
