"""Adaptive fusion: what moves the weights, what does not, and what an absent modality says."""

from __future__ import annotations

import numpy as np
import pytest

from routers.features.adaptive_fusion import AdaptiveFusion, Confidence
from tests.fakes.synthetic import Drawn, drawn_table


def drawn_views() -> Drawn:
    views = drawn_table()[1]
    lengths = np.random.default_rng(3).uniform(5, 15, (len(views["text"]), 1))
    return {**views, "image_features": (views["image_features"] * lengths).astype(np.float32)}


def test_weights_are_shares_of_the_number_of_modalities() -> None:
    views = drawn_views()
    weights = AdaptiveFusion.fit(views).weights(views)
    np.testing.assert_allclose(weights.sum(axis=1), 2.0)
    assert weights.std(axis=0).min() > 0.05


def test_longer_image_vector_raises_the_image_and_lowers_the_text() -> None:
    views = drawn_views()
    fusion = AdaptiveFusion.fit(views)
    plain = fusion.weights(views)
    longer = fusion.weights({**views, "image_features": 2 * views["image_features"]})
    assert (longer[:, 1] > plain[:, 1]).all()
    assert (longer[:, 0] < plain[:, 0]).all()


def test_length_of_a_normalised_view_is_rounding_and_tells_nothing() -> None:
    views = drawn_views()
    confidence = Confidence.fit("text", views["text"])
    assert confidence.length[1] == 0.0
    np.testing.assert_allclose(confidence.of(3 * views["text"]), confidence.of(views["text"]), atol=1e-6)


def test_row_near_the_prototype_is_surer_than_one_against_it() -> None:
    rows = drawn_views()["text"] + 0.5
    confidence = Confidence.fit("text", rows / np.linalg.norm(rows, axis=1, keepdims=True))
    near, against = confidence.of(np.stack([confidence.prototype, -confidence.prototype]))
    assert near == pytest.approx(0.75)
    assert against == pytest.approx(0.25)


def test_weights_of_a_query_do_not_depend_on_its_batch() -> None:
    views = drawn_views()
    fusion = AdaptiveFusion.fit(views)
    alone = fusion.rows({name: rows[5:6] for name, rows in views.items()})
    np.testing.assert_allclose(alone[0], fusion.rows(views)[5], atol=1e-5)


def test_absent_image_has_the_usual_weight_and_no_features() -> None:
    views = drawn_views()
    fusion = AdaptiveFusion.fit(views)
    absent = {**views, **{name: np.zeros_like(views[name]) for name in ("image", "image_features")}}
    rows = fusion.rows(absent)
    text_width = fusion.reduced.views[0].axes.shape[1]
    np.testing.assert_array_equal(rows[:, text_width:], 0.0)
    assert np.abs(rows[:, :text_width]).max() > 0.1
    usual = fusion.confidences[1].usual
    np.testing.assert_allclose(fusion.confidences[1].of(absent["image_features"]), usual)


def test_views_of_two_widths_have_no_products() -> None:
    views = drawn_views()
    fusion = AdaptiveFusion.fit({**views, "image": views["image_features"]})
    assert fusion.interaction is None
    assert set(fusion.view_dims) == {"text", "image_features"}
    assert set(AdaptiveFusion.fit(views).view_dims) == {"text", "image", "image_features"}


def test_restored_fusion_gives_the_same_rows() -> None:
    views = drawn_views()
    fusion = AdaptiveFusion.fit(views)
    restored = AdaptiveFusion.restore(fusion.arrays(), fusion.view_dims)
    np.testing.assert_array_equal(restored.rows(views), fusion.rows(views))
    with pytest.raises(ValueError, match="prototype/text"):
        AdaptiveFusion.restore({**fusion.arrays(), "prototype/text": np.zeros(3)}, fusion.view_dims)
