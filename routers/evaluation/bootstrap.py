"""The uncertainty of held-out figures: a bootstrap over groups of test rows.

Queries of one group (one image, one template) succeed and fail together, so whole groups are drawn with
replacement, never rows: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13. The same
draw weighs the test rows of every seed, since the seeds' test sets share most groups: the interval is that of the mean
over seeds, given the routers that were fitted. The difference between fits is reported separately, as the spread over
seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats
from routers.evaluation.judge import Judgement, Policy
from routers.evaluation.metrics import row_gaps, row_losses
from routers.evaluation.protocol import Measure
from routers.table.outcome_table import OutcomeTable

FIGURES = tuple(part.name for part in fields(Judgement))


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """R draws of whole groups; `counts` [R, G] says how often each group was drawn."""

    names: tuple[str, ...]
    counts: NDArray[np.float64]

    @classmethod
    def draw(cls, groups: Sequence[str], replicates: int, seed: int) -> Resamples:
        """Draw with replacement; each draw has as many groups as there are distinct groups."""
        names = tuple(sorted(set(groups)))
        chances = np.full(len(names), 1 / len(names))
        counts = np.random.default_rng(seed).multinomial(len(names), chances, size=replicates)
        return cls(names=names, counts=counts.astype(np.float64))

    def weights(self, groups: Sequence[str]) -> Floats:
        """Return [R, n] weights of rows of these groups. Raises KeyError for a group that `draw` was not given."""
        place = {name: number for number, name in enumerate(self.names)}
        return self.counts[:, [place[group] for group in groups]]


def rejudge(policy: Policy, test: OutcomeTable, measure: Measure, weights: Floats) -> Floats:
    """Return the judgement under each weighting [R, n] of the test rows: [R, figures], in the order of `FIGURES`.

    A figure is NaN where it has no meaning, or where a draw left no rows to judge.
    """
    found = np.full((len(weights), len(FIGURES)), np.nan)
    for number, weight in enumerate(weights):
        if weight.any():
            worth = measure.worth(policy.decided, test, weight)
            found[number, :4] = worth.nauc, worth.peak_score, worth.qnc, worth.accuracy
    if policy.forecast is None:
        return found
    losses, cells = row_losses(policy.forecast.quality, test.score)
    counted = ~np.isnan(test.output_tokens)
    covered = (counted & (test.output_tokens <= policy.forecast.output_tokens_high)).sum(axis=1)
    gaps = np.abs(weights @ row_gaps(policy.forecast.quality, test.score)).sum(axis=1)
    found[:, 4] = _ratio(weights @ losses, weights @ cells)
    found[:, 5] = _ratio(gaps, weights @ cells)
    found[:, 6] = _ratio(weights @ covered, weights @ counted.sum(axis=1))
    return found


def interval(replicates: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of one figure's replicates [R]; NaN if a replicate is NaN; inf is kept."""
    if not len(replicates) or np.isnan(replicates).any():
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    # The nearest replicate rather than a point between two: an infinite one must not turn its neighbour into NaN.
    low, high = np.quantile(replicates, (tail, 1 - tail), method="nearest")
    return float(low), float(high)


def _ratio(parts: Floats, wholes: Floats) -> Floats:
    return np.asarray(np.where(wholes > 0, parts / np.where(wholes > 0, wholes, 1.0), np.nan), dtype=np.float64)
