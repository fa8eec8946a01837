"""Retraining: what is better takes over, what is not does not, and nobody is judged on what they learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from routers.algorithms.cold_start import widened
from routers.algorithms.linear_mf import LinearMF
from routers.artifact import Provenance, learned_from, load, read_header, save
from routers.base import Views
from routers.evaluation.comparison import Rules
from routers.evaluation.leakage import fingerprints
from routers.registry import ALGORITHMS
from routers.retrain import (
    DECIDED,
    IN_SERVICE,
    RETRAINED,
    TIME,
    Contender,
    MergedOutcomes,
    RetrainSettings,
    fit_on_all,
    judge_offer,
    retrain,
    teachable,
)
from routers.table.outcome_table import Dataset, OutcomeTable, TableError
from routers.train import EncoderName
from tests.fakes.logged_table import logged
from tests.fakes.synthetic import drawn_table

IMAGE_VIEWS = frozenset({"image", "image_features"})
TERMS = RetrainSettings(holdout=0.3, rules=Rules(replicates=200))
LINEAR_MF = ALGORITHMS["linear_mf"]


def part(name: str, table: OutcomeTable, views: Views, rows: range) -> Dataset:
    places = np.array(rows)
    return Dataset(name, table.take(places), {view: values[places] for view, values in views.items()}, IMAGE_VIEWS)


@pytest.fixture(scope="module")
def world() -> tuple[OutcomeTable, Views]:
    return drawn_table(groups=300)


def poor(world: tuple[OutcomeTable, Views], folder: Path, rows: range = range(24)) -> Contender:
    """A router that learned from a few rows."""
    few = part("few", *world, rows)
    router = LinearMF.fit(few.table, few.views, encoder_digest="e" * 64)
    save(router, folder, Provenance("drawn", few.table.digest, learned_from=fingerprints(few.table)))
    return Contender.at(folder)


@pytest.mark.slow
def test_more_outcomes_make_a_router_that_is_surely_better(world: tuple[OutcomeTable, Views], tmp_path: Path) -> None:
    rival = poor(world, tmp_path / "poor")
    merged = MergedOutcomes.of([part("few", *world, range(24)), part("more", *world, range(24, 1200))])
    found = retrain(LINEAR_MF, merged, rival, "e" * 64, TERMS)
    assert found.contest.is_better
    assert found.contest.low < found.contest.difference
    assert found.contest.figure(RETRAINED, "nauc") - found.contest.figure(IN_SERVICE, "nauc") == pytest.approx(
        found.contest.difference
    )
    assert not set(range(24)) & set(found.holdout.test.tolist()), "the router in service knows these"
    digest = fit_on_all(LINEAR_MF, merged, EncoderName("drawn", "e" * 64), TERMS, tmp_path / "new", found)
    assert load(tmp_path / "new").digest == digest
    header, _ = read_header(tmp_path / "new")
    assert header["metrics"]["better_by"]["at_least"] == pytest.approx(found.contest.low)
    assert header["metrics"]["than"] == rival.router.digest
    prints = learned_from(tmp_path / "new")
    assert prints is not None
    np.testing.assert_array_equal(prints, merged.prints)


@pytest.mark.slow
def test_the_same_again_is_not_surely_better(world: tuple[OutcomeTable, Views], tmp_path: Path) -> None:
    rival = poor(world, tmp_path / "poor", range(600))
    merged = MergedOutcomes.of([part("first", *world, range(600)), part("some", *world, range(600, 760))])
    found = retrain(LINEAR_MF, merged, rival, "e" * 64, TERMS)
    assert not found.contest.is_better
    assert abs(found.contest.difference) < 0.05


def test_logged_outcomes_teach_and_judge(world: tuple[OutcomeTable, Views], tmp_path: Path) -> None:
    table, views = world
    rival = poor(world, tmp_path / "poor")
    online = logged(table, np.full(table.score.shape, 0.25), 7, labelled=0.8)
    online = replace(online, details={TIME: tuple(str(1e9 + row) for row in range(len(table)))})
    merged = MergedOutcomes.of([part("few", table, views, range(24)), part("online", online, views, range(24, 1200))])
    found = retrain(LINEAR_MF, merged, rival, "e" * 64, TERMS)
    assert found.holdout.timed == len(found.holdout.test) == 352
    assert found.holdout.test.min() > 800
    assert [arena.name for arena in found.contest.arenas] == ["online"]
    assert found.contest.difference > 0.02


def test_decisions_that_no_policy_made_are_not_judged_on(world: tuple[OutcomeTable, Views], tmp_path: Path) -> None:
    table, views = world
    online = logged(table, np.full(table.score.shape, 0.25), 7)
    assert online.weight is not None
    pinned = np.arange(len(table)) % 3 == 0
    online = replace(
        online,
        weight=np.where(pinned[:, None], np.nan, online.weight),
        details={DECIDED: tuple("pinned" if one else "drawn" for one in pinned)},
    )
    merged = MergedOutcomes.of([part("online", online, views, range(1200))])
    (held,) = merged.held(np.arange(1200))
    assert held.test.query_ids == tuple(f"q{row}" for row in range(1200) if row % 3)
    assert len(merged.learned(np.arange(1200), 1.0)[0]) == 1200, "they teach all the same"


def test_an_artifact_that_learned_from_shuffled_labels_is_not_better(
    world: tuple[OutcomeTable, Views], tmp_path: Path
) -> None:
    table, views = world
    rival = poor(world, tmp_path / "poor")
    shuffled = np.random.default_rng(0).permuted(table.score[:600], axis=0)
    bad = replace(part("bad", table, views, range(600)).table, score=shuffled)
    rows = {name: values[:600] for name, values in views.items()}
    router = LinearMF.fit(bad, rows, encoder_digest="e" * 64)
    save(router, tmp_path / "bad", Provenance("drawn", bad.digest, learned_from=fingerprints(bad)))
    merged = MergedOutcomes.of([part("all", table, views, range(1200))])
    found = judge_offer(Contender.at(tmp_path / "bad"), merged, rival, TERMS)
    assert found.holdout.test.tolist() == list(range(600, 1200)), "neither has seen these"
    assert not found.contest.is_better


def test_an_offer_that_does_not_say_what_it_learned_from_is_not_judged(
    world: tuple[OutcomeTable, Views], tmp_path: Path
) -> None:
    rival = poor(world, tmp_path / "poor")
    silent = Contender(rival.router, None)
    merged = MergedOutcomes.of([part("all", *world, range(100))])
    with pytest.raises(TableError, match="does not say"):
        judge_offer(silent, merged, rival, TERMS)
    knows_all = Contender(rival.router, merged.prints)
    with pytest.raises(TableError, match="nothing to judge on"):
        judge_offer(knows_all, merged, rival, TERMS)


@pytest.mark.slow
def test_a_candidate_of_too_few_outcomes_is_left_to_its_neighbours_in_price(
    world: tuple[OutcomeTable, Views], tmp_path: Path
) -> None:
    table, views = world
    score = table.score.copy()
    score[5:, 2] = np.nan
    thin = replace(table, score=score)
    assert teachable(thin).candidates == ("candidate-0", "candidate-1", "candidate-3")
    merged = MergedOutcomes.of([part("all", thin, views, range(1200))])
    rival = poor(world, tmp_path / "poor", range(24, 60))
    found = retrain(LINEAR_MF, merged, rival, "e" * 64, TERMS)
    assert np.isfinite(found.contest.difference)
    with pytest.raises(TableError, match="at least two are needed"):
        teachable(thin.select(["candidate-2"]))


@pytest.mark.slow
def test_a_new_candidate_learns_from_a_table_of_its_own(world: tuple[OutcomeTable, Views], tmp_path: Path) -> None:
    table, views = world
    old = part("old", table.select(table.candidates[:3]), views, range(600))
    new = part("new", table.select(table.candidates[3:]), views, range(0, 600, 6))  # asked about a hundred of the same
    merged = MergedOutcomes.of([old, new])
    assert merged.table.mask.sum(axis=0).tolist() == [600, 600, 600, 100]
    learned, rows = merged.learned(np.arange(600), 0.5)
    fitted = LINEAR_MF.fit(learned, rows)
    prices = dict(zip(table.candidates, np.nanmean(table.cost_usd, axis=0).tolist(), strict=True))
    guessed = widened(LINEAR_MF.fit(old.table, old.views), prices)
    asked = {name: values[600:] for name, values in views.items()}
    brier = [
        float(((router.forecast(asked).quality[:, 3] - table.score[600:, 3]) ** 2).mean())
        for router in (fitted, guessed)
    ]
    assert fitted.candidates == guessed.candidates == table.candidates
    assert brier[0] < brier[1] - 0.01


def test_of_a_decision_in_two_exports_the_last_one_counts(world: tuple[OutcomeTable, Views]) -> None:
    table, views = world
    first = replace(logged(table, np.full(table.score.shape, 0.25), 7), details={DECIDED: ("drawn",) * len(table)})
    relabelled = replace(first, score=1 - first.score)
    merged = MergedOutcomes.of([part("june", first, views, range(40)), part("july", relabelled, views, range(20, 60))])
    assert len(merged.table) == 60
    place = {name: row for row, name in enumerate(merged.table.query_ids)}
    np.testing.assert_array_equal(merged.table.score[place["q10"]], first.score[10])
    np.testing.assert_array_equal(merged.table.score[place["q30"]], relabelled.score[30])
    np.testing.assert_array_equal(merged.views["text"][place["q30"]], views["text"][30])
