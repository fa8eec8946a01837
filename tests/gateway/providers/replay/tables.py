"""A small outcome table with drawn images, and requests for its rows."""

from __future__ import annotations

import base64
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

FIELDS = ("dataset_idx", "question", "answer", "img_path", "image_width", "image_height")
QUESTION = "How many bars are taller than 4?"
ROWS: tuple[Mapping[str, object], ...] = (
    {"dataset_idx": "bars", "question": QUESTION, "answer": "7", "img_path": "bars.png"}
    | {"good_correct": 1, "good_token": 40, "good_prompt_token": 311, "bad_correct": 0, "bad_token": 33},
    {"dataset_idx": "other", "question": QUESTION, "answer": "9", "img_path": "other.png"}
    | {"good_correct": 1, "good_token": 21, "bad_correct": 0, "bad_token": 12},
    {"dataset_idx": "choice", "question": "Which is it?\n(A) this\n(B) that", "answer": "B", "img_path": ""}
    | {"good_correct": 0, "good_token": 5, "bad_correct": 0.5, "bad_token": 2},
    {"dataset_idx": "blank", "question": "Are they touching?", "answer": "", "img_path": "bars.png"}
    | {"good_correct": 1, "good_token": 8, "bad_correct": 0, "bad_token": 8},
    {"dataset_idx": "partial", "question": "Only good knows this?", "answer": "yes", "img_path": ""}
    | {"good_correct": 1, "good_token": 3},
)
SIZES = {"bars.png": (60, 50), "other.png": (30, 25)}


def write_table(folder: Path, rows: Sequence[Mapping[str, object]] = ROWS) -> Path:
    """The CSV and its images in `folder`."""
    for number, (name, size) in enumerate(SIZES.items()):
        Image.new("RGB", size, (40 * number, 90, 120)).save(folder / name)
    path = folder / "table.csv"
    outcomes = [f"{m}_{kind}" for m in ("good", "bad") for kind in ("correct", "token", "prompt_token")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*FIELDS, *outcomes])
        writer.writeheader()
        writer.writerows(rows)
    return path


def data_url(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()


def ask(question: str, image: str | None = None) -> list[Any]:
    """Messages that ask it, of an image at this address if there is one."""
    if image is None:
        return [{"role": "user", "content": question}]
    parts = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": image}}]
    return [{"role": "user", "content": parts}]
