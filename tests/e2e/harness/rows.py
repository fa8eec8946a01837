"""Rows of the real outcome tables, in files of their own that a pool starts on quickly."""

from __future__ import annotations

import base64
import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from tests.shared import SHARED_DATA

TABLES = ("DynaMath", "BlindTest")
LIST_PRICES: Mapping[str, tuple[str, str, str]] = {
    "GPT-4o": ("2.50", "10.00", "openai_tiles"),
    "Gemini-1.5-Pro": ("1.25", "5.00", "gemini_tiles"),
    "Claude-3.5-Sonnet": ("3.00", "15.00", "anthropic_area"),
    "Claude-3-Sonnet": ("3.00", "15.00", "anthropic_area"),
    "InternVL2-8B": ("0.10", "0.15", "internvl_tiles"),
    "InternVL2-26B": ("0.20", "0.40", "internvl_tiles"),
    "InternVL2-40B": ("0.30", "0.60", "internvl_tiles"),
    "InternVL2-76B": ("0.45", "0.85", "internvl_tiles"),
    "Qwen2-VL-7B": ("0.10", "0.15", "qwen_patches"),
    "Qwen2-VL-72B": ("0.40", "0.80", "qwen_patches"),
    "Llama-3.2-90B-Vision": ("0.90", "0.90", "flat:1600"),
    "DeepSeek-VL-7B": ("0.10", "0.15", "flat:576"),
    "LLaVA-1.5-7B": ("0.08", "0.10", "flat:576"),
    "LLaVA-1.6-13B": ("0.15", "0.18", "flat:2880"),
    "LLaVA-1.6-34B": ("0.40", "0.50", "flat:2880"),
}
"""USD per million tokens, in and out, and the formula of image tokens."""


@dataclass(frozen=True)
class Row:
    """One query of a table: its cells are (right, output tokens) by candidate."""

    id: str
    question: str
    answer: str
    image: Path
    cells: Mapping[str, tuple[bool, int]]

    @property
    def messages(self) -> list[Any]:
        url = "data:image/jpeg;base64," + base64.b64encode(self.image.read_bytes()).decode()
        parts = [{"type": "text", "text": self.question}, {"type": "image_url", "image_url": {"url": url}}]
        return [{"role": "user", "content": parts}]


def list_cost(candidate: str, input_tokens: int, output_tokens: int) -> int:
    """Nanodollars at list price, rounded once, up."""
    price_in, price_out, _ = LIST_PRICES[candidate]
    return ceil((Fraction(price_in) * input_tokens + Fraction(price_out) * output_tokens) * 1000)


def candidates_of(table: str) -> list[str]:
    """The columns of a table."""
    with (SHARED_DATA / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return [name.removesuffix("_correct") for name in next(csv.reader(file)) if name.endswith("_correct")]


def draw(table: str, count: int, seed: int, folder: Path, *, apart_from: Sequence[Row] = ()) -> tuple[Path, list[Row]]:
    """So many rows at random, as a CSV in `folder` and as values; no group that another drawing has."""
    taken = {row.id.rpartition("_")[0] for row in apart_from} | {row.image.name for row in apart_from}
    with (SHARED_DATA / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        lines = [line for line in reader if not taken & {line["group"], Path(line["img_path"]).name}]
        chosen = random.Random(seed).sample(lines, count)
        path = folder / f"{table}.csv"
        with path.open("w", newline="", encoding="utf-8") as written:
            writer = csv.DictWriter(written, reader.fieldnames or ())
            writer.writeheader()
            writer.writerows(chosen)
    return path, [_row(line, candidates_of(table)) for line in chosen]


def _row(line: Mapping[str, str], candidates: Sequence[str]) -> Row:
    cells = {name: (float(line[f"{name}_correct"]) >= 0.5, int(float(line[f"{name}_token"]))) for name in candidates}
    return Row(line["dataset_idx"], line["question"], line["answer"].strip(), SHARED_DATA / line["img_path"], cells)
