"""k-means: it finds what is there, and always the same."""

from __future__ import annotations

import numpy as np

from routers.numeric.lloyd import fit_centres, nearest


def test_parted_heaps_are_found() -> None:
    random = np.random.default_rng(0)
    heaps = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rows = np.concatenate([heap + 0.1 * random.standard_normal((30, 2)) for heap in heaps])
    centres = fit_centres(rows, 3, seed=1)
    np.testing.assert_allclose(centres[nearest(heaps, centres)], heaps, atol=0.1)


def test_repeated_rows_weigh_what_they_count() -> None:
    rows = np.repeat([[0.0], [1.0], [10.0]], [30, 10, 1], axis=0)
    np.testing.assert_allclose(np.sort(fit_centres(rows, 2, seed=0), axis=0), [[0.25], [10.0]])


def test_there_are_no_more_centres_than_distinct_rows() -> None:
    assert fit_centres(np.repeat(np.eye(3), 4, axis=0), 8, seed=0).shape == (3, 3)


def test_more_centres_fit_closer() -> None:
    rows = np.random.default_rng(0).standard_normal((200, 4))
    gaps = []
    for count in (1, 4, 16):
        centres = fit_centres(rows, count, seed=0)
        gaps.append(((rows - centres[nearest(rows, centres)]) ** 2).sum())
    assert gaps[0] > 1.3 * gaps[1] > 1.3**2 * gaps[2]


def test_order_of_rows_moves_no_centre() -> None:
    rows = np.random.default_rng(0).standard_normal((100, 4))
    order = np.random.default_rng(1).permutation(100)
    np.testing.assert_array_equal(fit_centres(rows[order], 5, seed=2), fit_centres(rows, 5, seed=2))
