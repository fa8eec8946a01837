"""The words of `loupe collect` and `loupe grade`: what is off is said, and nothing is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import main

GOOD = {"--dataset": "d.csv", "--config": "c.yaml", "--candidates": "a", "--budget": "1", "--out": "out"}


@pytest.mark.parametrize(
    ("word", "value", "why"),
    [
        ("--budget", "-1", "is negative"),
        ("--budget", "one", "is not a decimal number of USD"),
        ("--candidates", "a,a", "is not a list of different names"),
        ("--candidates", "a,,b", "is not a list of different names"),
        ("--limit", "0", "is not an integer of 1 or more"),
        ("--concurrency", "x", "is not an integer of 1 or more"),
        ("--retry-s", "0", "is not a number of seconds"),
    ],
)
def test_words_that_make_no_sense_are_named(
    word: str, value: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [each for pair in (GOOD | {word: value}).items() for each in pair]
    with pytest.raises(SystemExit) as ended:
        main(["collect", *words])
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("rate", ["0", "1.5", "-1", "x", "nan"])
def test_a_sample_is_a_share(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["grade", "--store", "s", "--expected", "x", "--sample", rate])
    assert "is not a share over 0 and up to 1" in capsys.readouterr().err


def test_a_grader_or_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "providers: {p: {base_url: 'http://127.0.0.1:9/v1'}}\n"
        "candidates: [{name: a, provider: p, input_usd_per_mtok: 1, output_usd_per_mtok: 2}]\n"
    )
    words = [
        each for pair in (GOOD | {"--config": str(config), "--out": str(tmp_path / "out")}).items() for each in pair
    ]
    assert main(["collect", *words, "--grader", "fuzzy"]) == 1
    assert "--grader: unknown grader 'fuzzy'; known: auto" in capsys.readouterr().err
    assert main(["collect", *words]) == 1
    assert "d.csv: No such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
