"""k-means: Lloyd's iterations from k-means++ seeds (Arthur & Vassilvitskii, SODA 2007), the best of several starts.

Ours rather than a library's, so that training again gives the same centres to the last bit, whatever the number
of threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats

_STARTS = 3
_MOST_STEPS = 50


def fit_centres(rows: Floats, count: int, seed: int) -> Floats:
    """[at most count, D] centres of rows [n, D]: no more than there are distinct rows."""
    distinct, weights = np.unique(rows, axis=0, return_counts=True)
    count = min(count, len(distinct))
    random = np.random.default_rng(seed)
    found = [_lloyd(distinct, weights.astype(np.float64), _seeds(distinct, count, random)) for _ in range(_STARTS)]
    return min(found, key=lambda pair: pair[0])[1]


def nearest(rows: Floats, centres: Floats) -> NDArray[np.intp]:
    """[n]: the number of the nearest centre; the first of a tie."""
    return np.asarray(np.argmin(_distances(rows, centres), axis=1), dtype=np.intp)


def _seeds(rows: Floats, count: int, random: np.random.Generator) -> Floats:
    """k-means++: each further seed is drawn in proportion to the squared distance from those there are."""
    chosen = [int(random.integers(len(rows)))]
    gap = ((rows - rows[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < count and gap.max() > 0:
        chosen.append(int(random.choice(len(rows), p=gap / gap.sum())))
        gap = np.minimum(gap, ((rows - rows[chosen[-1]]) ** 2).sum(axis=1))
    return rows[chosen]


def _lloyd(rows: Floats, weights: Floats, centres: Floats) -> tuple[float, Floats]:
    """(inertia, centres) at a standstill."""
    place = np.full(len(rows), -1)
    for _ in range(_MOST_STEPS):
        moved = nearest(rows, centres)
        if np.array_equal(moved, place):
            break
        place = moved
        belongs = (place[:, None] == np.arange(len(centres))) * weights[:, None]
        sizes = belongs.sum(axis=0)
        means = (belongs.T @ rows) / np.maximum(sizes, 1.0)[:, None]
        centres = np.where(sizes[:, None] > 0, means, centres)  # a deserted centre stays where it was
    gaps = ((rows - centres[nearest(rows, centres)]) ** 2).sum(axis=1)
    return float(weights @ gaps), centres


def _distances(rows: Floats, centres: Floats) -> Floats:
    """[n, k] squared distances, less each row's own length, which moves no comparison."""
    return np.asarray((centres**2).sum(axis=1) - 2.0 * rows @ centres.T, dtype=np.float64)
