"""The collected outcomes as files: our Parquet, MMR-Bench's CSV, and a manifest that says how they were made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.billing.money import NANODOLLARS
from gateway.outcomes.collect.dataset import Row
from gateway.outcomes.collect.journal import Answer, JournalState
from gateway.outcomes.datasets import embed, with_image_facts
from gateway.outcomes.graders.time_limit import OutOfTime, within
from models.dual_encoder import DualEncoder
from routers.table.formats import write_table
from routers.table.outcome_table import OutcomeTable
from routers.table.parquet import TableVectors
from routers.table.wide_csv import whole_file

CSV, MANIFEST, VECTORS = "table.csv", "manifest.json", "embeddings.npz"
LONGEST_GRADING_S = 2.0
"""Seconds after which a grader (such as a pattern) is stopped; its cell stays ungraded, and is missing."""


@dataclass(frozen=True, slots=True, eq=False)
class CollectedTable:
    """The table, and the number of answers that no grader finished."""

    table: OutcomeTable
    ungraded: int
    graders: Mapping[str, int]
    """A mapping from a grader's version to the number of rows that it judged."""


def table_of(rows: Sequence[Row], candidates: Sequence[str], kept: JournalState) -> CollectedTable:
    """Return every answer of these rows and candidates in the journal, graded; rows without any answer are left out."""
    asked = [row for row in rows if any((row.id, name) in kept.answers for name in candidates)]
    shape = (len(asked), len(candidates))
    arrays = {name: np.full(shape, np.nan) for name in ("score", "input_tokens", "output_tokens", "cost_usd")}
    latency, source = np.full(shape, np.nan), np.full(shape, "", dtype="<U80")
    ungraded = 0
    for place, row in enumerate(asked):
        for column, name in enumerate(candidates):
            answer = kept.answers.get((row.id, name))
            if answer is None:
                continue
            score = _score(row, answer)
            if score is None:
                ungraded += 1
                continue
            values = (score, answer.input_tokens, answer.output_tokens, answer.cost / NANODOLLARS)
            for array, value in zip(arrays.values(), values, strict=True):
                array[place, column] = value
            latency[place, column] = answer.latency_s
            source[place, column] = f"collect {row.grader.version}"[:80]
    prices = {name: {a.prices for (_, c), a in kept.answers.items() if c == name} for name in candidates}
    table = OutcomeTable(
        query_ids=tuple(row.id for row in asked),
        groups=tuple(row.group for row in asked),
        questions=tuple(row.question for row in asked),
        image_paths=tuple(row.picture.path if row.picture else None for row in asked),
        candidates=tuple(candidates),
        details=_details(asked),
        latency_s=latency,
        source=source,
        notes={"prices": "; ".join(f"{name}: {' + '.join(sorted(said))}" for name, said in prices.items() if said)},
        **arrays,
    )
    return CollectedTable(table, ungraded, Counter(row.grader.version for row in asked))


def write_collected(collected: CollectedTable, folder: Path, encoder: DualEncoder | None) -> dict[str, Any]:
    """Write the table, with embeddings if there is an encoder. Returns the manifest's entry. Raises TableError,
    OSError.
    """
    table, _ = with_image_facts(collected.table, lambda _done, _total: None)
    embedded, vectors = None, None
    if encoder is not None and len(table):
        embedded = TableVectors(encoder.digest, embed(table, encoder, folder / VECTORS))
        vectors = {"name": encoder.name, "digest": encoder.digest}
    write_table(table, folder, "parquet", embedded)
    write_table(table, folder / CSV, "mmr")
    return {
        "digest": table.digest,
        "queries": len(table),
        "cells": int(table.mask.sum()),
        "ungraded": collected.ungraded,
        "graders": dict(collected.graders),
        "encoder": vectors,
    }


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, completely or not at all. Raises OSError."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with whole_file(folder / MANIFEST) as partial:
        partial.write_text(text, encoding="utf-8")


def _score(row: Row, answer: Answer) -> float | None:
    try:
        with within(LONGEST_GRADING_S):
            return row.grader.grade(answer.text, row.reference).score
    except OutOfTime:
        return None


def _details(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    names = dict.fromkeys(name for row in rows for name in row.details)
    details = {name: tuple(row.details.get(name, "") for row in rows) for name in names}
    return {**details, "grader": tuple(row.grader.version for row in rows)}
