"""Drawn outcome tables: a seeded world in which views tell something of who succeeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routers.table.outcome_table import OutcomeTable

Drawn = dict[str, NDArray[np.float32]]

PER_GROUP = 4


def drawn_table(
    groups: int = 60, candidates: int = 4, *, missing: float = 0.0, seed: int = 0
) -> tuple[OutcomeTable, Drawn]:
    """Queries in groups of near-equal views; dearer candidates are better, and each has a bent of its own."""
    random = np.random.default_rng(seed)
    rows = groups * PER_GROUP
    latent = np.repeat(random.standard_normal((groups, 6)), PER_GROUP, axis=0)
    latent += 0.2 * random.standard_normal(latent.shape)
    bent = random.standard_normal((6, candidates))
    strength = np.linspace(-0.8, 0.8, candidates)
    chance = 1 / (1 + np.exp(-(latent @ bent / 1.5 + strength)))
    score = (random.random((rows, candidates)) < chance).astype(np.float64)
    tokens = np.round(np.exp(4 + 0.2 * latent[:, :1] + 0.3 * random.standard_normal((rows, candidates))))
    cost = tokens * np.geomspace(1e-6, 2e-5, candidates)
    hidden = random.random((rows, candidates)) < missing
    for values in (score, tokens, cost):
        values[hidden] = np.nan
    table = OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(rows)),
        groups=tuple(f"g{row // PER_GROUP}" for row in range(rows)),
        questions=tuple(f"question {row}" for row in range(rows)),
        image_paths=(None,) * rows,
        candidates=tuple(f"candidate-{column}" for column in range(candidates)),
        score=score,
        output_tokens=tokens,
        cost_usd=cost,
    )
    return table, {
        "text": _seen(random, latent, 12),
        "image": _seen(random, latent, 12),
        "image_features": _seen(random, latent, 20),
    }


def full_table(folder: Path, groups: int = 6) -> OutcomeTable:
    """A drawn table that says everything a table can say; its first query has an image in `folder`, if unwritten."""
    table, _ = drawn_table(groups=groups, missing=0.3)
    random = np.random.default_rng(1)
    input_tokens, latency_s, weight = (
        np.where(table.mask, random.integers(1, 9, table.score.shape) / 4, np.nan) for _ in range(3)
    )
    return replace(
        table,
        image_paths=(folder / "pics" / "1.png", *table.image_paths[1:]),
        details={"answer": ('say "a",\nthen b',) * len(table), "image_width": ("640",) + ("",) * (len(table) - 1)},
        input_tokens=input_tokens,
        latency_s=latency_s,
        weight=weight,
        source=np.where(table.mask, "drawn", ""),
        notes={"prices": "v1"},
    )


def textual_table(folder: Path) -> OutcomeTable:
    """A full table of text alone, with scores and costs and none of what formats may lack."""
    table = full_table(folder)
    return replace(
        table,
        image_paths=(None,) * len(table),
        output_tokens=np.full(table.score.shape, np.nan),
        input_tokens=None,
        latency_s=None,
        weight=None,
        source=None,
        notes={},
    )


def written_csv(folder: Path, text: str) -> Path:
    """A CSV file of this text."""
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return path


def _seen(random: np.random.Generator, latent: NDArray[np.float64], width: int) -> NDArray[np.float32]:
    mixed = latent @ random.standard_normal((latent.shape[1], width))
    mixed += 0.3 * random.standard_normal(mixed.shape)
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
