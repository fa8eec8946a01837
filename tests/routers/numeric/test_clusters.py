"""Clusters are found where they lie, whatever the order of rows, and queries belong to the nearest of them."""

from __future__ import annotations

import numpy as np
import pytest

from routers.base import Floats, Views
from routers.numeric.clusters import Clusters, fit_centres

CORNERS = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0]])


def heaps(each: int = 25) -> tuple[Floats, Floats]:
    """Rows about four corners, and which corner each is of."""
    place = np.tile(np.arange(4), each)
    return CORNERS[place] + 0.5 * np.random.default_rng(0).standard_normal((4 * each, 2)), place


def drawn_views(rows: int = 80) -> Views:
    random = np.random.default_rng(1)
    return {
        "text": random.standard_normal((rows, 6)).astype(np.float32),
        "image_features": random.standard_normal((rows, 5)).astype(np.float32),
    }


def test_centres_lie_where_the_rows_heap_up() -> None:
    features, place = heaps()
    found = fit_centres(features, 4)
    means = np.array([features[place == corner].mean(axis=0) for corner in range(4)])
    np.testing.assert_allclose(found[np.lexsort(found.T.round())], means[np.lexsort(means.T.round())], atol=1e-9)


def test_row_order_gives_the_same_centres() -> None:
    features, _ = heaps()
    order = np.random.default_rng(2).permutation(len(features))
    once, again = fit_centres(features, 6), fit_centres(features[order], 6)
    np.testing.assert_allclose(again[np.lexsort(again.T)], once[np.lexsort(once.T)], atol=1e-9)


def test_copies_are_no_more_clusters_than_they_are_points() -> None:
    assert len(fit_centres(np.repeat(CORNERS, 25, axis=0), 10)) == 4
    assert len(fit_centres(np.ones((40, 3)), 10)) == 1


def test_few_rows_make_few_clusters() -> None:
    features = np.random.default_rng(3).standard_normal((13, 4))
    assert len(fit_centres(features, 64)) == 3
    np.testing.assert_allclose(fit_centres(features[:1], 64), features[:1])


def test_memberships_of_each_level_add_up_to_one() -> None:
    views = drawn_views()
    clusters = Clusters.fit(views, (2, 5))
    members = clusters.memberships(views, 0.2)
    assert clusters.sizes == (2, 5)
    np.testing.assert_allclose(members[:, :2].sum(axis=1), 1.0)
    np.testing.assert_allclose(members[:, 2:].sum(axis=1), 1.0)


def test_cold_membership_is_of_the_nearest_alone_and_warm_of_all() -> None:
    views = drawn_views()
    clusters = Clusters.fit(views, (4,))
    nearest = np.argmin(clusters.distances(views), axis=1)
    cold, warm = clusters.memberships(views, 1e-4), clusters.memberships(views, 1e6)
    np.testing.assert_array_equal(np.argmax(cold, axis=1), nearest)
    assert np.mean(cold.max(axis=1) > 0.99) > 0.9
    np.testing.assert_allclose(warm, 0.25, atol=1e-4)


def test_an_absent_image_stands_at_the_mean() -> None:
    views = drawn_views()
    clusters = Clusters.fit(views, (3,))
    mean = np.broadcast_to(views["image_features"].mean(axis=0), (80, 5)).astype(np.float32)
    absent = clusters.distances({**views, "image_features": np.zeros((80, 5), dtype=np.float32)})
    np.testing.assert_allclose(absent, clusters.distances({**views, "image_features": mean}), atol=1e-4)


def test_clusters_are_restored_from_their_arrays() -> None:
    views = drawn_views()
    clusters = Clusters.fit(views, (2, 5))
    again = Clusters.restore(clusters.arrays(), clusters.space.view_dims)
    np.testing.assert_array_equal(again.memberships(views, 0.3), clusters.memberships(views, 0.3))


@pytest.mark.parametrize("cut", ["centres", "sizes"])
def test_arrays_that_disagree_are_refused(cut: str) -> None:
    clusters = Clusters.fit(drawn_views(), (2, 5))
    arrays = clusters.arrays()
    with pytest.raises(ValueError, match="centres"):
        Clusters.restore({**arrays, cut: arrays[cut][:-1]}, clusters.space.view_dims)


def test_a_level_stands_alone_as_it_stands_among_others() -> None:
    views = drawn_views()
    clusters = Clusters.fit(views, (2, 5))
    whole = clusters.memberships(views, 0.3)
    np.testing.assert_allclose(clusters.level(0).memberships(views, 0.3), whole[:, :2])
    np.testing.assert_allclose(clusters.level(1).memberships(views, 0.3), whole[:, 2:])
