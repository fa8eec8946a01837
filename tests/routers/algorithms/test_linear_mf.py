"""LinearMF: what it learns, how sure it says it is, and how fast it answers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from routers.algorithms.linear_mf import LinearMF
from routers.base import Views
from routers.evaluation.metrics import log_loss
from routers.forecasting.calibration import QUALITY_FLOOR
from routers.numeric.ridge import RidgeOptions
from routers.table.outcome_table import TableError
from routers.table.split import grouped_splits
from tests.checks.work import work_of
from tests.fakes.synthetic import drawn_table


def test_held_out_forecast_is_better_than_the_means() -> None:
    table, views = drawn_table(groups=150, missing=0.1)
    (split,) = grouped_splits(table.groups, 0.6, [0])
    known, hidden = table.take(split.train), table.take(split.test)
    router = LinearMF.fit(known, {name: rows[split.train] for name, rows in views.items()})
    forecast = router.forecast({name: rows[split.test] for name, rows in views.items()})
    means = np.tile(np.nanmean(known.score, axis=0), (len(hidden), 1))
    assert log_loss(forecast.quality, hidden.score) < 0.95 * log_loss(means, hidden.score)


def test_nine_of_ten_held_out_replies_are_within_the_token_quantile() -> None:
    table, views = drawn_table(groups=200)
    (split,) = grouped_splits(table.groups, 0.5, [0])
    router = LinearMF.fit(table.take(split.train), {name: rows[split.train] for name, rows in views.items()})
    forecast = router.forecast({name: rows[split.test] for name, rows in views.items()})
    tokens = table.output_tokens[split.test]
    assert (tokens <= forecast.output_tokens_high).mean() == pytest.approx(0.9, abs=0.04)
    assert forecast.output_tokens.mean() == pytest.approx(tokens.mean(), rel=0.1)


def test_noise_is_answered_with_the_candidates_means() -> None:
    table, views = drawn_table(groups=100)
    random = np.random.default_rng(9)
    noise = {name: random.standard_normal(rows.shape).astype(np.float32) for name, rows in views.items()}
    quality = LinearMF.fit(table, noise).forecast(noise).quality
    np.testing.assert_allclose(quality.mean(axis=0), table.score.mean(axis=0), atol=0.02)
    assert quality.std(axis=0).max() < 0.2


def test_candidate_that_was_seen_less_is_less_sure() -> None:
    table, views = drawn_table(groups=100)
    score = table.score.copy()
    score[40:, 0] = np.nan
    spread = LinearMF.fit(replace(table, score=score), views).forecast(views).quality_std
    assert spread[:, 0].mean() > 1.3 * spread[:, 1:].mean()


def test_forecast_stays_within_what_training_showed() -> None:
    table, views = drawn_table(groups=100)
    router = LinearMF.fit(table, views)
    seen = router.forecast(views)
    far = {name: 50 * rows for name, rows in views.items()}
    forecast = router.forecast(far)
    assert (forecast.quality >= seen.quality.min(axis=0) - 1e-6).all()
    assert (forecast.quality <= seen.quality.max(axis=0) + 1e-6).all()
    assert (forecast.output_tokens <= seen.output_tokens.max(axis=0) * (1 + 1e-5)).all()
    assert forecast.quality.min() >= QUALITY_FLOOR


def test_candidate_seen_in_one_table_keeps_near_its_mean_in_the_other() -> None:
    table, views = drawn_table(groups=100)
    score, tokens, cost = (values.copy() for _, values in table.numbers())
    for values in (score, tokens, cost):
        values[:200, 0] = np.nan
        values[200:, 3] = np.nan
    union = replace(table, score=score, output_tokens=tokens, cost_usd=cost)
    quality = LinearMF.fit(union, views).forecast(views).quality
    assert quality[:200, 0].mean() == pytest.approx(np.nanmean(score[:, 0]), abs=0.15)
    assert quality[200:, 3].mean() == pytest.approx(np.nanmean(score[:, 3]), abs=0.15)


def test_cells_without_token_counts_teach_quality_still() -> None:
    table, views = drawn_table()
    tokens = table.output_tokens.copy()
    tokens[::2] = np.nan
    forecast = LinearMF.fit(replace(table, output_tokens=tokens), views).forecast(views)
    assert np.isfinite(forecast.output_tokens_high).all()


def test_table_that_cannot_teach_is_refused() -> None:
    table, views = drawn_table()
    with pytest.raises(TableError, match=r"candidate-0.*output token count"):
        LinearMF.fit(replace(table, output_tokens=np.full_like(table.score, np.nan)), views)
    with pytest.raises(TableError, match="one group"):
        LinearMF.fit(replace(table, groups=("g",) * len(table)), views)


def test_options_of_one_ridge_leave_nothing_to_choose() -> None:
    table, views = drawn_table()
    router = LinearMF.fit(table, views, options=RidgeOptions(ridges=(7.0,)))
    assert router.settings["chosen_ridge"] == router.settings["chosen_token_ridge"] == 7.0


@pytest.mark.slow
def test_one_query_takes_fifty_calls_whatever_the_candidates_and_copies_no_weights() -> None:
    work = {}
    for groups, candidates in ((40, 3), (40, 15), (120, 15)):
        router, views = wide_router(groups, candidates)
        router.forecast(views)
        work[groups, candidates] = found = work_of(partial(router.forecast, views))
        assert found.lines <= 80 and found.calls <= 50, found
        assert found.peak_bytes < router.composed.matrix.nbytes / 10, found
    assert len({(found.lines, found.calls) for found in work.values()}) == 1, work


def wide_router(groups: int, candidates: int) -> tuple[LinearMF, Views]:
    """A router of views as wide as the bundled encoder's, and one query's views."""
    table, _ = drawn_table(groups=groups, candidates=candidates)
    random = np.random.default_rng(0)
    known = {
        name: random.standard_normal((len(table), dimension)).astype(np.float32)
        for name, dimension in (("text", 384), ("image_features", 1280))
    }
    router = LinearMF.fit(table, known, options=RidgeOptions(ridges=(10.0,), folds=2))
    return router, {name: rows[:1] for name, rows in known.items()}
