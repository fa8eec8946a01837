"""The encoder benchmark measures every part, writes it down, and renews its own section of the page only."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.encoder.__main__ import main
from benchmarks.encoder.report import markdown, row
from benchmarks.encoder.timing import PICTURE, picture, plainly, text, timed
from models.image_preprocessing import to_pixels


def test_rows_hold_median_and_spread() -> None:
    found = row(("part", "subject", "what"), "ms", [3.0, 1.0, 2.0])
    assert (found.median, found.least, found.greatest) == (2.0, 1.0, 3.0)


def test_markdown_shows_each_part_with_its_subjects_down_and_tasks_across() -> None:
    rows = [
        row(("one", "a", "x"), "ms", [1.0, 2.0, 3.0]),
        row(("one", "b", "y"), "us", [1_234.0]),
        row(("two", "a", "x"), "ms", [12.34]),
    ]
    page = markdown({"command": "run"}, rows)
    assert "* command: run" in page
    assert "| | x, ms | y, us |\n|---|--:|--:|\n| a | 2.00 [1.00..3.00] |  |\n| b |  | 1,234 [1,234..1,234] |" in page
    assert "**two**" in page and "| a | 12.3 [12.3..12.3] |" in page


def test_each_task_is_timed_in_every_round_per_item() -> None:
    now = 0.0

    def work() -> None:
        nonlocal now
        now += 0.002

    taken = timed({("a", "wait"): (work, 2)}, 3, lambda: now)
    assert taken["a", "wait"] == pytest.approx([1.0, 1.0, 1.0])  # milliseconds, of two items a call


@pytest.mark.slow
def test_drawn_inputs_are_the_same_for_the_same_seed() -> None:
    assert picture(1, "JPEG") == picture(1, "JPEG") != picture(2, "JPEG")
    assert text(1, 10) == text(1, 10) != text(2, 10)
    with Image.open(BytesIO(picture(1, "WEBP"))) as image:
        assert image.size == PICTURE
    assert len(text(1, 10).split()) == 10


@pytest.mark.slow
def test_the_plain_way_sees_the_same_picture() -> None:
    data = picture(1, "PNG")
    pixels = (plainly(data) * 0.27 + 0.45).transpose(1, 2, 0) * 255
    assert np.abs(pixels - to_pixels(data, 224)).mean() < 1


@pytest.mark.slow
def test_every_part_without_a_server_is_measured_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "r.json"
    words = ["--rounds", "1", "--bundle", "fused-lite", "--no-random", "--no-serve", "--json", str(written)]
    assert main([*words, "--markdown", str(tmp_path / "page.md")]) == 0
    result = json.loads(written.read_text())
    assert result["command"].startswith("python -m benchmarks.encoder --rounds 1")
    assert result["seed"] == 20_263
    subjects = {entry["subject"].split(" ")[0] for entry in result["results"]}
    assert subjects == {"JPEG", "PNG", "WEBP", "fused-lite"}
    assert all(0 < entry["least"] <= entry["median"] <= entry["greatest"] for entry in result["results"])
    assert "fused-lite" in capsys.readouterr().out
    assert (tmp_path / "page.md").read_text().startswith("<!-- encoder: begin -->\n")
