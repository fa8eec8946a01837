"""Candidates that a router has never seen stand between those of about their price."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from routers.algorithms.cold_start import DOUBT, ColdStartRouter, widened
from routers.base import Forecast, Views
from tests.fakes.router import FakeRouter, Fixed

VIEWS: Views = {"text": np.zeros((3, 384), dtype=np.float32)}
ROUTER = FakeRouter(
    ("cheap", "dear", "unpriced"),
    {"cheap": Fixed(0.4, 0.1, 50, 90), "dear": Fixed(0.8, 0.1, 150, 400), "unpriced": Fixed(0.99)},
)


def column(name: str, prices: dict[str, float]) -> tuple[float, float, float, float]:
    """The forecast of one candidate, the same for every query."""
    router = widened(ROUTER, prices)
    found, place = router.forecast(VIEWS), router.candidates.index(name)
    values = [getattr(found, part.name)[:, place] for part in fields(Forecast)]
    assert all((rows == rows[0]).all() and rows.shape == (3,) for rows in values)
    return tuple(float(rows[0]) for rows in values)  # type: ignore[return-value]


def test_halfway_in_the_logarithm_of_price_is_halfway_in_quality_and_unsure() -> None:
    quality, std, tokens, high = column("new", {"cheap": 1.0, "dear": 100.0, "new": 10.0})
    assert (quality, tokens, high) == (pytest.approx(0.6), pytest.approx(100.0), 400.0)
    assert std == pytest.approx((0.1**2 + 0.2**2 + DOUBT**2) ** 0.5)


def test_it_stands_nearer_to_whose_price_is_nearer() -> None:
    assert column("new", {"cheap": 1.0, "dear": 100.0, "new": 30.0})[0] > 0.65


@pytest.mark.parametrize(("price", "like"), [(500.0, 0.8), (0.001, 0.4), (0.0, 0.4), (1.0, 0.4), (100.0, 0.8)])
def test_beyond_the_ends_it_is_like_the_last(price: float, like: float) -> None:
    assert column("new", {"cheap": 1.0, "dear": 100.0, "new": price})[0] == pytest.approx(like)


def test_the_columns_of_the_router_stay_as_they_were() -> None:
    router = widened(ROUTER, {"cheap": 1.0, "dear": 100.0, "new": 10.0})
    assert isinstance(router, ColdStartRouter)
    assert router.candidates == ("cheap", "dear", "unpriced", "new")
    assert (router.digest, router.encoder_digest) == (ROUTER.digest, ROUTER.encoder_digest)
    np.testing.assert_array_equal(router.forecast(VIEWS).quality[:, :3], ROUTER.forecast(VIEWS).quality)
    assert router.neighbours() == {"new": ("cheap", "dear")}


def test_nothing_is_added_where_nobody_is_new_or_nobody_is_known() -> None:
    assert widened(ROUTER, {"cheap": 1.0}) is ROUTER
    assert widened(ROUTER, {"new": 1.0}) is ROUTER
