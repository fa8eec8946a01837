"""Views reduced to principal components: scale, absent rows, restoring."""

from __future__ import annotations

import numpy as np
import pytest

from routers.features.pca import PcaMap, sized, usual_views
from tests.fakes.synthetic import drawn_table


def test_every_view_weighs_the_same() -> None:
    _, views = drawn_table()
    scaled = {"text": views["text"], "image_features": 1000 * views["image_features"]}
    for view in PcaMap.fit(scaled).views:
        assert (view.apply(scaled) ** 2).sum(axis=1).mean() == pytest.approx(1.0, rel=1e-4)


def test_tokens_are_the_rows_of_each_view_at_one_length() -> None:
    _, views = drawn_table()
    reduced = PcaMap.fit(views, components=5)
    for token in reduced.tokens(views):
        assert token.shape == (len(views["text"]), 5)
    np.testing.assert_allclose(np.concatenate(reduced.tokens(views), axis=1), 8 * reduced.rows(views))


def test_view_that_is_not_wide_is_left_whole() -> None:
    _, views = drawn_table()
    text, image = PcaMap.fit(views, components=5, wide=12).views
    assert (text.axes.shape[1], image.axes.shape[1]) == (12, 5)
    centred = views["text"] - views["text"].mean(axis=0)
    directions = text.apply(views) / np.linalg.norm(text.apply(views), axis=1, keepdims=True)
    np.testing.assert_allclose(directions, centred / np.linalg.norm(centred, axis=1, keepdims=True), atol=1e-4)


def test_absent_row_stands_at_the_training_mean() -> None:
    _, views = drawn_table()
    reduced = PcaMap.fit(views)
    absent = {**views, "image_features": np.zeros_like(views["image_features"])}
    text, image = (view.apply(absent) for view in reduced.views)
    assert np.abs(text).max() > 0.1
    np.testing.assert_array_equal(image, np.zeros_like(image))


def test_statistics_are_those_of_training_whatever_the_batch() -> None:
    _, views = drawn_table()
    reduced = PcaMap.fit(views)
    whole = reduced.rows(views)
    alone = reduced.rows({name: rows[:1] for name, rows in views.items()})
    np.testing.assert_allclose(alone[0], whole[0], atol=1e-5)


def test_maps_multiplied_out_add_up_to_the_product_of_the_rows() -> None:
    _, views = drawn_table()
    reduced = PcaMap.fit(views)
    weights = np.random.default_rng(0).standard_normal((reduced.rows(views).shape[1], 3))
    width = reduced.views[0].axes.shape[1]
    composed = PcaMap((reduced.views[0].then(weights[:width]), reduced.views[1].then(weights[width:])))
    np.testing.assert_allclose(composed.summed(views), reduced.rows(views) @ weights, atol=1e-4)


def test_wrong_shapes_are_refused() -> None:
    _, views = drawn_table()
    reduced = PcaMap.fit(views)
    with pytest.raises(ValueError, match="text"):
        reduced.rows({**views, "text": views["text"][:, 1:]})
    with pytest.raises(ValueError, match="image_features"):
        PcaMap.restore(reduced.arrays(), {**reduced.view_dims, "image_features": 3})
    with pytest.raises(ValueError, match="'centres'"):
        sized({"centres": np.zeros(3)}, "centres", (2, 3))


def test_richest_view_of_the_image_is_usual() -> None:
    _, views = drawn_table()
    assert usual_views(views) == ("text", "image_features")
    assert usual_views({"text": views["text"], "image": views["image"]}) == ("text", "image")
    with pytest.raises(KeyError, match="audio"):
        usual_views({"audio": views["text"]})
