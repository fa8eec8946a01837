"""The pacing benchmark: its ledger, its stream, its rivals and what it reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.pacing.__main__ import Task, main, play_task
from benchmarks.pacing.policies import Fixed, Ledger, Paced, Played, Threshold, decision, run
from benchmarks.pacing.rates import Envelopes
from benchmarks.pacing.report import FIXED, GREEDY, HINDSIGHT, PACED, THRESHOLD, as_json, as_text, headline, result
from benchmarks.pacing.world import DAY, INPUT_TOKENS, Scenario, Taught, play
from gateway.billing.price import Price, cost

SHORT = Scenario(requests=2_000)
ROWS = 300


def taught() -> Taught:
    """Three candidates; half of the queries are hard, and only the dear one can do those."""
    random = np.random.default_rng(3)
    hard = random.random(ROWS) < 0.5
    prices = (Price(3_000_000_000, 15_000_000_000), Price(500_000_000, 1_000_000_000), Price(50_000_000, 100_000_000))
    quality = np.column_stack([np.where(hard, 0.8, 0.9), np.where(hard, 0.3, 0.85), np.where(hard, 0.1, 0.5)])
    quality += random.normal(0, 0.03, quality.shape)
    tokens = random.integers(150, 450, (ROWS, 3)).astype(float)
    bill = [[cost(price, INPUT_TOKENS, int(count)) for price, count in zip(prices, row, strict=True)] for row in tokens]
    return Taught(
        name="made",
        names=("dear", "middle", "cheap"),
        quality=quality,
        forecast_tokens=np.full((ROWS, 3), 300.0),
        high_tokens=np.full((ROWS, 3), 450.0),
        score=(random.random((ROWS, 3)) < quality).astype(float),
        tokens=tokens,
        cost=np.array(bill, dtype=float),
        prices=prices,
        known_scores=quality.mean(axis=0),
        known_costs=np.array(bill, dtype=float).mean(axis=0),
    )


def test_ledger_holds_the_ceiling_and_charges_what_was_used() -> None:
    ledger = Ledger(100)

    assert ledger.reserve(60)
    assert not ledger.reserve(41)
    ledger.settle(60, 20)
    assert ledger.reserve(80)
    assert (ledger.spent, ledger.held, ledger.violations) == (20, 80, 0)


def test_ledger_counts_what_goes_over_the_cap() -> None:
    ledger = Ledger(100)
    ledger.reserve(60)
    ledger.settle(60, 120)

    assert ledger.violations == 1


def test_stream_is_the_same_for_the_same_seed() -> None:
    one, same, other = (play(SHORT, taught(), seed) for seed in (1, 1, 2))

    assert (one.times, one.rows, one.budget) == (same.times, same.rows, same.budget)
    assert one.times != other.times
    assert len(one.times) == SHORT.requests
    assert one.times == sorted(one.times)
    assert SHORT.starts_at <= one.times[0] and one.times[-1] < SHORT.ends_at


def test_traffic_doubles_and_an_outage_is_silent() -> None:
    days = np.array([3.5, 10.5])
    assert SHORT.intensity(days * DAY)[1] == pytest.approx(2 * SHORT.intensity(days * DAY)[0])
    world = play(replace(SHORT, outage=(6.25, 6.75)), taught(), 0)

    assert not any(6.25 < (now - SHORT.starts_at) / DAY < 6.74 for now in world.times)


def test_budget_is_two_fifths_of_what_the_best_single_candidate_would_cost() -> None:
    world = play(SHORT, taught(), 0)
    whole = sum(world.charge(now, row, 0) for now, row in zip(world.times, world.rows, strict=True))

    assert world.taught.best == 0
    assert world.budget == pytest.approx(0.4 * whole, rel=1e-3)


def test_price_change_is_charged_and_told() -> None:
    world = play(SHORT, taught(), 0)
    before, after = world.charge(world.price_at - 1, 0, 0), world.charge(world.price_at, 0, 0)
    old, new = (world.catalog(is_new).get("dear") for is_new in (False, True))
    assert old is not None and new is not None

    assert after == pytest.approx(1.5 * before, abs=1)
    assert new.price.output_per_million == round(1.5 * old.price.output_per_million)
    assert world.charge(world.price_at, 0, 1) == world.charge(0.0, 0, 1)
    untold = play(replace(SHORT, is_price_told=False), taught(), 0)
    assert [c.price for c in untold.catalog(True)] == [c.price for c in untold.catalog(False)]


@pytest.mark.slow
def test_paced_beats_its_rivals_within_the_plan() -> None:
    task = Task(taught(), SHORT, 0, (PACED, GREEDY, FIXED, THRESHOLD, HINDSIGHT))
    found = {one.policy: one for one, _ in play_task(task)}

    assert abs(found[PACED].miss) < 0.01
    assert all(found[PACED].score > found[rival].score + 0.01 for rival in (GREEDY, FIXED, THRESHOLD))
    assert all(one.cap_violations == 0 for one in found.values())
    assert found[GREEDY].refused > found[PACED].refused


def test_policies_take_what_their_names_say() -> None:
    world = play(SHORT, taught(), 0)
    fresh, nearly_spent = Ledger(world.budget), Ledger(world.budget, spent=round(0.9 * world.budget))
    threshold, greedy = Threshold(world), Fixed(world, 0.0)

    assert threshold.rank(0, world.times[0], 0, fresh)[0].candidate.name == "dear"
    assert threshold.rank(0, world.times[0], 0, nearly_spent)[0].candidate.name == "middle"
    best = greedy.rank(0, world.times[0], 5, fresh)[0].candidate.name
    assert best == world.taught.names[int(world.taught.quality[5].argmax())]


def test_tuned_rate_is_expected_to_cost_what_was_asked() -> None:
    world = play(SHORT, taught(), 0)
    envelopes = Envelopes.of(world)
    rate = envelopes.tuned(world.budget)
    expected = 0
    for now, row in zip(world.times, world.rows, strict=True):
        catalog = world.catalog(now >= world.price_at)
        expected += decision(world, catalog, row, rate * catalog.reference_cost).choices[0].expected_cost

    assert expected == pytest.approx(world.budget, rel=0.01)
    assert Envelopes.of(world, world.scenario.starts_at + DAY).counts.total() < SHORT.requests / 8


def test_rate_in_hindsight_really_spends_the_budget() -> None:
    world = play(SHORT, taught(), 0)
    played = run(world, Fixed(world, Envelopes.of(world).hindsight(world, world.budget)))

    assert 0.98 < played.spent / played.limit <= 1.0
    assert Envelopes.of(world).hindsight(world, 1e18) == 0.0


@pytest.mark.slow
def test_restart_and_several_processes_stay_within_the_plan() -> None:
    for scenario in (replace(SHORT, outage=(6.25, 6.75)), replace(SHORT, processes=4)):
        world = play(scenario, taught(), 0)
        played = run(world, Paced(world))

        assert 0.98 < played.spent / played.limit <= 1.0
        assert played.violations == 0


def test_budget_that_is_cut_is_kept() -> None:
    world = play(replace(SHORT, budget_at=6.0, budget_factor=0.7), taught(), 0)
    played = run(world, Paced(world))

    assert played.limit == round(0.7 * world.budget)
    assert 0.98 < played.spent / played.limit <= 1.0


def test_report_has_the_keys_that_are_asked_for() -> None:
    where = ("made", "main", 0)
    scores = {PACED: 0.7, GREEDY: 0.3, FIXED: 0.5, THRESHOLD: 0.6, HINDSIGHT: 0.71}
    found = [result(where, name, Played(99, 100, score, 1, 0)) for name, score in scores.items()]
    whole = as_json({"seeds": [0]}, found, [])

    for key in ("plan_usd", "spent_usd", "score", "score_greedy", "score_fixed", "score_threshold", "cap_violations"):
        assert key in whole
    assert (whole["runs"], whole["runs_won"], whole["score"]) == (1, 1, 0.7)
    assert whole["worst_plan_miss"] == pytest.approx(0.01)
    assert "best until 80%" in as_text(found)
    lost = [replace(one, score=0.65) if one.policy == PACED else one for one in found]
    lost = [replace(one, score=0.66) if one.policy == FIXED else one for one in lost]
    assert headline(lost)["runs_won"] == 0


@pytest.mark.slow
def test_command_writes_its_figures_and_draws_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--quick", "--requests", "800", "--seeds", "1", "--jobs", "1", "--only", "BlindTest"]
    words += ["--json", str(tmp_path / "pacing.json"), "--plot", str(tmp_path / "pacing.png")]
    status = main(words)
    found = json.loads((tmp_path / "pacing.json").read_text())

    assert found["cap_violations"] == 0
    assert found["runs_won"] == found["runs"] == 1
    assert abs(found["spent_usd"] / found["plan_usd"] - 1) < 0.03
    assert status == (0 if found["worst_plan_miss"] < 0.01 else 1), "so few requests need not end within 1%"
    assert (tmp_path / "pacing.png").read_bytes().startswith(b"\x89PNG")
    assert "seeds: [0]" in capsys.readouterr().out
