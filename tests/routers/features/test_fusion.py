"""Fusion: training statistics only, absent images, and the composed map that equals it."""

from __future__ import annotations

import numpy as np
import pytest

from routers.features.fusion import Fusion, FusionOptions
from tests.fakes.synthetic import drawn_table

OPTIONS = FusionOptions(wide=15, components=6, products=3)


def test_composed_map_equals_features_times_weights() -> None:
    _, views = drawn_table()
    fusion = Fusion.fit(views, OPTIONS)
    features = fusion.transform(views)
    random = np.random.default_rng(1)
    weights, bias = random.standard_normal((features.shape[1], 5)), random.standard_normal(5)
    found = fusion.compose(weights, bias).apply(views)
    np.testing.assert_allclose(found, features @ weights + bias, atol=1e-4)
    assert features.shape[1] == 12 + 6 + 3 * 3


@pytest.mark.parametrize("names", [("text",), ("image_features",), ("text", "image", "image_features")])
def test_any_views_fuse_and_compose(names: tuple[str, ...]) -> None:
    _, views = drawn_table()
    fusion = Fusion.fit(views, FusionOptions(views=names, wide=15, components=6, products=3))
    features = fusion.transform(views)
    weights = np.random.default_rng(1).standard_normal((features.shape[1], 2))
    found = fusion.compose(weights, np.zeros(2)).apply(views)
    np.testing.assert_allclose(found, features @ weights, atol=1e-4)
    assert fusion.view_dims == {name: views[name].shape[1] for name in names}


def test_the_batch_that_is_transformed_teaches_nothing() -> None:
    _, views = drawn_table()
    fusion = Fusion.fit(views, OPTIONS)
    whole = fusion.transform(views)
    part = fusion.transform({name: rows[:3] for name, rows in views.items()})
    np.testing.assert_allclose(part, whole[:3])


def test_absent_image_stands_at_the_training_mean() -> None:
    _, views = drawn_table()
    fusion = Fusion.fit(views, OPTIONS)
    absent = {**views, "image_features": np.zeros_like(views["image_features"])}
    means = {**views, "image_features": np.tile(views["image_features"].mean(axis=0), (len(views["text"]), 1))}
    np.testing.assert_allclose(fusion.transform(absent), fusion.transform(means), atol=1e-5)
    weights = np.ones((fusion.transform(views).shape[1], 1))
    composed = fusion.compose(weights, np.zeros(1))
    np.testing.assert_allclose(composed.apply(absent), composed.apply(means), atol=1e-4)


def test_absent_rows_are_left_out_of_the_statistics() -> None:
    _, views = drawn_table()
    half = {name: rows.copy() for name, rows in views.items()}
    half["image_features"][::2] = 0
    seen = {name: rows[1::2] for name, rows in views.items()}
    found, expected = Fusion.fit(half, OPTIONS), Fusion.fit(seen, OPTIONS)
    np.testing.assert_allclose(found.blocks[1].mean, expected.blocks[1].mean)


def test_views_of_different_lengths_are_refused() -> None:
    _, views = drawn_table()
    fusion = Fusion.fit(views, OPTIONS)
    composed = fusion.compose(np.zeros((fusion.transform(views).shape[1], 1)), np.zeros(1))
    with pytest.raises(ValueError, match="rows"):
        composed.apply({**views, "image_features": views["image_features"][:2]})


def test_missing_view_is_a_key_error() -> None:
    _, views = drawn_table()
    with pytest.raises(KeyError):
        Fusion.fit({"text": views["text"]}, OPTIONS)
