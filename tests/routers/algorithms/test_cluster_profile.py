"""A new candidate joins from a few outcomes, and the more there are the truer are its forecasts."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from routers.algorithms.cluster_profile import COUNTS, ClusterProfile
from routers.base import Floats, Forecast, Views
from routers.table.outcome_table import OutcomeTable, TableError
from routers.table.split import grouped_splits
from tests.checks.router_checks import ROUTER_CHECKS
from tests.fakes.synthetic import drawn_table

NEWCOMER = "candidate-1"
OTHERS = ("candidate-0", "candidate-2", "candidate-3", "candidate-4", "candidate-5")
KINDS = 12


@pytest.fixture(scope="module")
def world() -> tuple[OutcomeTable, Views, ClusterProfile]:
    """A table of six candidates on 1,600 queries, and a router that knows five of them from half of the groups."""
    table, views = kinds_table(400)
    split = next(grouped_splits(table.groups, 0.5, [0]))
    known = table.take(split.train).select(OTHERS)
    return table, views, ClusterProfile.fit(known, taken(views, split.train), encoder_digest="e" * 64)


def kinds_table(groups: int) -> tuple[OutcomeTable, Views]:
    """Queries of kinds that lie apart; a kind is hard to some degree and suits a candidate in one of two ways."""
    table, _ = drawn_table(groups, 6)
    random = np.random.default_rng(13)
    kind = np.repeat(np.arange(groups) % KINDS, 4)
    demands, bents = random.standard_normal((KINDS, 2)), random.standard_normal((2, 6))
    chances = 1 / (1 + np.exp(-(1.2 * random.standard_normal((KINDS, 1)) + demands @ bents)))[kind]
    near = 0.2 * random.standard_normal((len(table), KINDS)) + 3 * np.eye(KINDS)[kind]
    views = {name: near.astype(np.float32) for name in ("text", "image_features")}
    return replace(table, score=(random.random(chances.shape) < chances).astype(np.float64)), views


def taken(views: Views, rows: Floats | slice) -> Views:
    return {name: values[rows] for name, values in views.items()}


def sides(table: OutcomeTable) -> tuple[np.ndarray, np.ndarray]:
    """Rows to calibrate with, in a drawn order, and rows to judge on."""
    split = next(grouped_splits(table.groups, 0.5, [0]))
    return np.random.default_rng(1).permutation(split.train), split.test


def joined(world: tuple[OutcomeTable, Views, ClusterProfile], count: int) -> tuple[ClusterProfile, Floats]:
    """The router with the newcomer, calibrated on so many queries, and the newcomer's scores there."""
    table, views, router = world
    rows = sides(table)[0][:count]
    newcomer = table.take(rows).select([NEWCOMER])
    outcomes = newcomer.score[:, 0], newcomer.output_tokens[:, 0]
    return router.with_candidate(NEWCOMER, taken(views, rows), *outcomes), outcomes[0]


def error(world: tuple[OutcomeTable, Views, ClusterProfile], count: int) -> float:
    """Mean squared error of the newcomer's forecasts on queries that nobody learned from."""
    table, views, _ = world
    test = sides(table)[1]
    quality = joined(world, count)[0].forecast(taken(views, test)).quality[:, -1]
    return float(np.mean((quality - table.select([NEWCOMER]).score[test, 0]) ** 2))


@pytest.mark.slow
def test_error_falls_with_the_size_of_the_calibration(world: tuple[OutcomeTable, Views, ClusterProfile]) -> None:
    few, some, many = (error(world, count) for count in (16, 64, 400))
    assert few > some + 0.005
    assert some > many + 0.005


@pytest.mark.slow
def test_sixty_four_outcomes_beat_knowing_only_their_mean(world: tuple[OutcomeTable, Views, ClusterProfile]) -> None:
    table, _, _ = world
    _, scores = joined(world, 64)
    truth = table.select([NEWCOMER]).score[sides(table)[1], 0]
    assert error(world, 64) < np.mean((truth.mean() - truth) ** 2) - 0.01
    assert error(world, 64) < np.mean((scores.mean() - truth) ** 2) - 0.01


@pytest.mark.slow
def test_four_hundred_outcomes_do_as_well_as_training(world: tuple[OutcomeTable, Views, ClusterProfile]) -> None:
    table, views, _ = world
    learn, test = sides(table)
    whole = ClusterProfile.fit(table.take(learn).select([*OTHERS, NEWCOMER]), taken(views, learn))
    quality = whole.forecast(taken(views, test)).quality[:, -1]
    trained = np.mean((quality - table.select([NEWCOMER]).score[test, 0]) ** 2)
    assert error(world, 400) < trained + 0.01


def test_nothing_changes_for_those_that_were_there(world: tuple[OutcomeTable, Views, ClusterProfile]) -> None:
    _, views, router = world
    more, _ = joined(world, 64)
    assert more.candidates == (*OTHERS, NEWCOMER)
    assert (more.encoder_digest, more.digest) == ("e" * 64, "")
    before, after = router.forecast(views), more.forecast(views)
    for part in fields(Forecast):
        np.testing.assert_allclose(getattr(after, part.name)[:, :-1], getattr(before, part.name), rtol=1e-12)


def test_a_router_that_was_joined_obeys(world: tuple[OutcomeTable, Views, ClusterProfile]) -> None:
    more, _ = joined(world, 64)
    for check in ROUTER_CHECKS:
        check(more)


def test_a_newcomer_is_less_sure_until_it_is_known_better(world: tuple[OutcomeTable, Views, ClusterProfile]) -> None:
    _, views, _ = world
    few, many = (joined(world, count)[0].forecast(views).quality_std.mean(axis=0) for count in (16, 400))
    assert few[-1] > many[-1]
    assert few[-1] > 1.2 * few[:-1].max()


def test_nine_of_ten_replies_of_a_newcomer_keep_within_its_quantile(
    world: tuple[OutcomeTable, Views, ClusterProfile],
) -> None:
    table, views, _ = world
    test = sides(table)[1]
    high = joined(world, 128)[0].forecast(taken(views, test)).output_tokens_high[:, -1]
    covered = table.select([NEWCOMER]).output_tokens[test, 0] <= high
    assert 0.83 < covered.mean() < 0.97


def test_missing_calibration_cells_teach_nothing(world: tuple[OutcomeTable, Views, ClusterProfile]) -> None:
    table, views, router = world
    rows = sides(table)[0][:128]
    newcomer = table.take(rows).select([NEWCOMER])
    score, tokens = newcomer.score[:, 0].copy(), newcomer.output_tokens[:, 0].copy()
    score[64:], tokens[64:] = np.nan, np.nan
    half = router.with_candidate(NEWCOMER, taken(views, rows), score, tokens)
    np.testing.assert_allclose(half.forecast(views).quality, joined(world, 64)[0].forecast(views).quality, atol=1e-9)


def test_a_newcomer_that_cannot_be_learned_is_refused(world: tuple[OutcomeTable, Views, ClusterProfile]) -> None:
    _, views, router = world
    ones, few = np.ones(8), np.array([1.0, *[np.nan] * 7])
    seen = taken(views, slice(0, 8))
    with pytest.raises(TableError, match="'candidate-0' is known already"):
        router.with_candidate("candidate-0", seen, ones, ones)
    with pytest.raises(TableError, match="fewer than two observed scores"):
        router.with_candidate("new", seen, few, ones)
    with pytest.raises(TableError, match="fewer than two observed output token counts"):
        router.with_candidate("new", seen, ones, few)
    with pytest.raises(ValueError, match="8 queries"):
        router.with_candidate("new", seen, ones[:7], ones)
    with pytest.raises(KeyError):
        router.with_candidate("new", {"text": seen["text"]}, ones, ones)


def test_settings_say_what_was_chosen(world: tuple[OutcomeTable, Views, ClusterProfile]) -> None:
    settings = world[2].settings
    assert set(settings) == {"clusters", "temperature", "discount"}
    assert settings["clusters"] <= max(COUNTS)


@pytest.mark.parametrize(
    "cut", ["quality", "expected/score_mean", "expected/token_covariance", "expected/noises", "token_high"]
)
def test_arrays_that_disagree_are_refused(world: tuple[OutcomeTable, Views, ClusterProfile], cut: str) -> None:
    router = replace(world[2])
    header = {
        "candidates": list(router.candidates),
        "view_dims": dict(router.view_dims),
        "hyper_parameters": dict(router.settings),
        "encoder": {"digest": router.encoder_digest},
    }
    arrays = router.arrays()
    again = ClusterProfile.restore(header, arrays, "d" * 64)
    assert again.digest == "d" * 64
    with pytest.raises(ValueError, match=cut):
        ClusterProfile.restore(header, {**arrays, cut: arrays[cut][:-1]}, "")
