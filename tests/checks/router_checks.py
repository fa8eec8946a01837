"""Laws that every router obeys: `ROUTER_CHECKS` on a ready one, `ALGORITHM_CHECKS` on whatever can be trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from routers.artifact import Provenance, load, save
from routers.base import Forecast, Router, Views
from routers.registry import Algorithm, TrainedRouter
from routers.table.outcome_table import OutcomeTable, TableError
from tests.fakes.synthetic import drawn_table

ROWS = 7


def check_every_array_is_rows_by_candidates(router: Router) -> None:
    for count in (0, 1, ROWS):
        for values in _arrays(router.forecast(_views(router, count))).values():
            assert values.shape == (count, len(router.candidates))
            assert values.dtype == np.float64


def check_every_number_is_in_its_range(router: Router) -> None:
    for scale in (0.0, 1.0, 100.0):
        forecast = router.forecast(_views(router, ROWS, scale=scale))
        for values in _arrays(forecast).values():
            assert np.isfinite(values).all()
        assert ((forecast.quality >= 0) & (forecast.quality <= 1)).all()
        assert ((forecast.quality_std >= 0) & (forecast.quality_std <= 1)).all()
        assert (forecast.output_tokens >= 0).all()
        assert (forecast.output_tokens_high > 0).all()


def check_the_same_query_gets_the_same_forecast(router: Router) -> None:
    views = _views(router, ROWS)
    _assert_equal(router.forecast(views), router.forecast(views), tolerance=0.0)


def check_a_forecast_leaves_its_views_as_they_were(router: Router) -> None:
    views = _views(router, ROWS, absent=("image", "image_features"))
    kept = {name: rows.copy() for name, rows in views.items()}
    router.forecast(views)
    for name, rows in views.items():
        np.testing.assert_array_equal(rows, kept[name])


def check_neighbours_in_a_batch_change_nothing(router: Router) -> None:
    views = _views(router, ROWS)
    whole = router.forecast(views)
    order = np.arange(ROWS)[::-1]
    _assert_equal(router.forecast(_taken(views, order)), _rows(whole, order), tolerance=1e-4)
    for row in range(ROWS):
        alone = router.forecast(_taken(views, np.array([row])))
        _assert_equal(alone, _rows(whole, np.array([row])), tolerance=1e-4)


def check_a_query_without_image_is_forecast(router: Router) -> None:
    views = _views(router, ROWS, absent=("image", "image_features"))
    for values in _arrays(router.forecast(views)).values():
        assert np.isfinite(values).all()


def check_a_missing_view_is_a_key_error(router: Router) -> None:
    for name in router.view_dims:
        views = {other: rows for other, rows in _views(router, 1).items() if other != name}
        with pytest.raises(KeyError):
            router.forecast(views)


def check_a_wrong_dimension_is_a_value_error(router: Router) -> None:
    for name, dimension in router.view_dims.items():
        for shape in ((1, dimension + 1), (dimension,)):
            with pytest.raises(ValueError, match=name):
                router.forecast({**_views(router, 1), name: np.ones(shape, dtype=np.float32)})


def check_views_that_are_not_needed_are_ignored(router: Router) -> None:
    views = _views(router, ROWS)
    more = {**views, "unheard-of": np.ones((ROWS, 3), dtype=np.float32)}
    _assert_equal(router.forecast(more), router.forecast(views), tolerance=0.0)


def check_candidates_are_distinct_names(router: Router) -> None:
    assert all(router.candidates)
    assert len(set(router.candidates)) == len(router.candidates)


ROUTER_CHECKS: tuple[Callable[[Router], None], ...] = (
    check_every_array_is_rows_by_candidates,
    check_every_number_is_in_its_range,
    check_the_same_query_gets_the_same_forecast,
    check_a_forecast_leaves_its_views_as_they_were,
    check_neighbours_in_a_batch_change_nothing,
    check_a_query_without_image_is_forecast,
    check_a_missing_view_is_a_key_error,
    check_a_wrong_dimension_is_a_value_error,
    check_views_that_are_not_needed_are_ignored,
    check_candidates_are_distinct_names,
)


def check_training_again_gives_the_same_router(algorithm: Algorithm, folder: Path) -> None:
    table, views = drawn_table()
    first, second = (algorithm.fit(table, views, seed=3) for _ in range(2))
    _assert_equal(first.forecast(views), second.forecast(views), tolerance=0.0)


def check_a_loaded_router_forecasts_what_the_saved_one_did(algorithm: Algorithm, folder: Path) -> None:
    table, views = drawn_table(missing=0.2)
    router = algorithm.fit(table, views, encoder_digest="e" * 64)
    digest = save(router, folder, Provenance(encoder_name="drawn", table_sha256=table.digest))
    loaded = load(folder)
    _assert_equal(loaded.forecast(views), router.forecast(views), tolerance=0.0)
    assert loaded.digest == digest
    assert loaded.candidates == table.candidates
    assert loaded.encoder_digest == "e" * 64
    assert dict(loaded.view_dims) == dict(router.view_dims)


def check_missing_cells_are_not_taken_for_failures(algorithm: Algorithm, folder: Path) -> None:
    table, views = drawn_table()
    score = np.full_like(table.score, 0.9)
    score[::2, 0] = np.nan  # half of the first candidate's cells: zeros in their place would halve its mean
    router = algorithm.fit(replace(table, score=score), views)
    assert router.forecast(views).quality[:, 0].mean() == pytest.approx(0.9, abs=0.03)


def check_row_order_changes_nothing_that_matters(algorithm: Algorithm, folder: Path) -> None:
    table, views = drawn_table(missing=0.2)
    order = np.random.default_rng(5).permutation(len(table))
    shuffled = algorithm.fit(table.take(order), _taken(views, order))
    plain = algorithm.fit(table, views)
    gap = np.abs(shuffled.forecast(views).quality - plain.forecast(views).quality)
    assert gap.mean() < 0.02  # folds are drawn by group, so only sums differ


def check_a_table_of_texts_teaches(algorithm: Algorithm, folder: Path) -> None:
    table, views = drawn_table()
    bare = {name: rows if name == "text" else np.zeros_like(rows) for name, rows in views.items()}
    forecast = algorithm.fit(table, bare).forecast(bare)
    for values in _arrays(forecast).values():
        assert np.isfinite(values).all()


def check_a_candidate_without_outcomes_is_refused(algorithm: Algorithm, folder: Path) -> None:
    table, views = drawn_table()
    score = table.score.copy()
    score[:, 1] = np.nan
    with pytest.raises(TableError, match=table.candidates[1]):
        algorithm.fit(replace(table, score=score), views)


ALGORITHM_CHECKS: tuple[Callable[[Algorithm, Path], None], ...] = (
    check_training_again_gives_the_same_router,
    check_a_loaded_router_forecasts_what_the_saved_one_did,
    check_missing_cells_are_not_taken_for_failures,
    check_row_order_changes_nothing_that_matters,
    check_a_table_of_texts_teaches,
    check_a_candidate_without_outcomes_is_refused,
)


def trained(algorithm: Algorithm) -> tuple[TrainedRouter, OutcomeTable, Views]:
    """A router trained on a drawn table with missing cells, for `ROUTER_CHECKS`."""
    table, views = drawn_table(missing=0.2)
    return algorithm.fit(table, views), table, views


def _views(router: Router, count: int, *, scale: float = 1.0, absent: tuple[str, ...] = ()) -> Views:
    random = np.random.default_rng(11)
    views = {
        name: (scale * random.standard_normal((count, dimension)) / np.sqrt(dimension)).astype(np.float32)
        for name, dimension in router.view_dims.items()
    }
    return {name: np.zeros_like(rows) if name in absent else rows for name, rows in views.items()}


def _arrays(forecast: Forecast) -> Mapping[str, NDArray[np.float64]]:
    return {part.name: getattr(forecast, part.name) for part in fields(Forecast)}


def _taken(views: Views, rows: NDArray[Any]) -> Views:
    return {name: values[rows] for name, values in views.items()}


def _rows(forecast: Forecast, rows: NDArray[Any]) -> Forecast:
    return Forecast(**{name: values[rows] for name, values in _arrays(forecast).items()})


def _assert_equal(found: Forecast, expected: Forecast, *, tolerance: float) -> None:
    for name, values in _arrays(expected).items():
        np.testing.assert_allclose(_arrays(found)[name], values, rtol=tolerance, atol=tolerance, err_msg=name)
