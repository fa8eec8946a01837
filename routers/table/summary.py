"""The summary of an outcome table: how much was observed, of which candidates, and the means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routers.base import Floats
from routers.table.outcome_table import OutcomeTable


@dataclass(frozen=True, slots=True)
class CandidateOverview:
    """The summary of one candidate.

    Attributes:
        cells, coverage: the number of observed scores, and their share of the queries.
        score, cost_usd, output_tokens: means over the candidate's observed cells; NaN where there are none.
    """

    name: str
    cells: int
    coverage: float
    score: float
    cost_usd: float
    output_tokens: float


@dataclass(frozen=True, slots=True)
class Overview:
    """The summary of a whole table.

    Attributes:
        cells: the number of observed scores, out of `queries` x candidates.
        groups: the number of distinct groups.
        largest_group: the number of queries in the largest group.
        with_image: the number of queries with an image; the others are text only.
        questions, images: the numbers of distinct questions and images.
        best: the candidate of the best mean score, the cheaper candidate in a tie; None if no cell was observed.
        oracle: the mean score if each query went to the best of its observed candidates; NaN if none was observed.
    """

    queries: int
    cells: int
    groups: int
    largest_group: int
    with_image: int
    questions: int
    images: int
    best: str | None
    oracle: float
    arrays: tuple[str, ...]
    candidates: tuple[CandidateOverview, ...]


def overview(table: OutcomeTable) -> Overview:
    """Count and average the observed cells of a table."""
    mask = table.mask
    _, sizes = np.unique(np.array(table.groups, dtype=object).astype(str), return_counts=True)
    rows = mask.any(axis=1)
    best_scores = np.where(mask, table.score, -1.0).max(axis=1, initial=-1.0)[rows]
    candidates = tuple(_candidate(table, column) for column in range(len(table.candidates)))
    seen = [candidate for candidate in candidates if candidate.cells]
    return Overview(
        queries=len(table),
        cells=int(mask.sum()),
        groups=len(sizes),
        largest_group=int(sizes.max(initial=0)),
        with_image=sum(path is not None for path in table.image_paths),
        questions=len(set(table.questions)),
        images=len(set(table.image_paths) - {None}),
        best=min(seen, key=lambda one: (-one.score, one.cost_usd)).name if seen else None,
        oracle=float(best_scores.mean()) if len(best_scores) else float("nan"),
        arrays=tuple(table.arrays()),
        candidates=candidates,
    )


def _candidate(table: OutcomeTable, column: int) -> CandidateOverview:
    cells = int(table.mask[:, column].sum())
    return CandidateOverview(
        name=table.candidates[column],
        cells=cells,
        coverage=cells / len(table) if len(table) else 0.0,
        score=_mean(table.score[:, column]),
        cost_usd=_mean(table.cost_usd[:, column]),
        output_tokens=_mean(table.output_tokens[:, column]),
    )


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def column_means(values: Floats, weights: Floats | None = None) -> Floats:
    """Return [K] means over observed cells, weighted by `weights` [n, K]; an empty column gets the overall mean."""
    seen = ~np.isnan(values)
    weight = np.where(seen, 1.0 if weights is None else weights, 0.0)
    counts = weight.sum(axis=0)
    sums = (weight * np.where(seen, values, 0.0)).sum(axis=0)
    overall = float(sums.sum() / counts.sum()) if counts.any() else 0.0
    return np.asarray(np.where(counts > 0, sums / np.where(counts > 0, counts, 1.0), overall), dtype=np.float64)


def column_quantiles(tokens: Floats) -> Floats:
    """Return [K] 90% quantiles over observed cells; 0 for a column without any."""
    seen = ~np.isnan(tokens)
    columns = zip(tokens.T, seen.T, strict=True)
    return np.array([np.quantile(column[mask], 0.9) if mask.any() else 0.0 for column, mask in columns])
