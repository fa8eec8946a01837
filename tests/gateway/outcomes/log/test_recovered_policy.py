"""The loop's arithmetic, whole: drawn by exploration, logged, labelled in part, exported; weights recover the truth.

Full information: a bundled offline table, where every candidate's score on every query is known. The logging policy
is exploration over it; the target policy takes whatever is cheapest of the safe set, and is never itself logged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gateway.billing.price import Price
from gateway.cli import main
from gateway.outcomes.label import Label
from gateway.outcomes.log.labels import put_labels
from gateway.outcomes.log.schema import decisions_path
from gateway.routing.catalog import Candidate
from gateway.routing.circuit_breaker import always_well
from gateway.routing.decision import CandidateForecast, Decision, Preference, decide
from gateway.routing.exploration import Exploration, explore, safe_set
from gateway.routing.query import Query
from gateway.tenants.policy import ExplorationSettings
from routers.evaluation.off_policy import Estimate, doubly_robust, importance, ips, snips
from routers.table.formats import read_table
from routers.table.numeric import load_offline
from routers.table.outcome_table import OutcomeTable
from tests.gateway.billing.makers import candidate
from tests.gateway.outcomes.log.made import full, log_at

pytestmark = pytest.mark.slow

PLENTY = 10**15
SETTINGS = ExplorationSettings(rate=0.5, gamma=5.0, slack=0.1)
RUNS, DRAWS = 100, 4_000
LABELLED = 0.6
"""The share of decisions that is labelled."""


@dataclass(frozen=True)
class World:
    """Queries with forecasts that are off by noise, and what each candidate truly scores."""

    table: OutcomeTable
    decisions: tuple[Decision, ...]
    targets: tuple[str, ...]
    truth: float

    def score(self, row: int, name: str) -> float:
        return float(self.table.score[row, self.table.candidates.index(name)])


@pytest.fixture(scope="module")
def world() -> World:
    data = load_offline().datasets[0].table
    complete = data.take(np.flatnonzero(data.mask.all(axis=1))[:600])
    rng = np.random.default_rng(11)
    dear = np.linspace(1, 8, len(complete.candidates))
    offers = tuple(
        candidate(name, Price(int(price * 10**8), int(price * 4 * 10**8)))
        for name, price in zip(complete.candidates, dear, strict=True)
    )
    means = complete.score.mean(axis=0)
    decisions = tuple(_decide(offers, means, complete.score[row], rng) for row in range(len(complete)))
    targets = tuple(_cheapest_safe(decision) for decision in decisions)
    scores = [complete.score[row, complete.candidates.index(name)] for row, name in enumerate(targets)]
    assert len(set(targets)) > 2, "the target policy looks at the query"
    return World(complete, decisions, targets, float(np.mean(scores)))


def _decide(offers: tuple[Candidate, ...], means: np.ndarray, scores: np.ndarray, rng: np.random.Generator) -> Decision:
    guess = np.clip(0.6 * means + 0.2 * scores + rng.normal(0, 0.1, len(offers)), 0, 1)
    forecasts = {c.name: CandidateForecast(float(q), 0.1, 40, 80) for c, q in zip(offers, guess, strict=True)}
    query = Query("how many?", 40, 1)
    return decide(query, offers, forecasts, Preference(0.05), reference_cost=10**6, is_healthy=always_well)


def _cheapest_safe(decision: Decision) -> str:
    safe = [decision.choices[place] for place in safe_set(decision.choices, SETTINGS, PLENTY)]
    return min(safe, key=lambda row: row.expected_cost).candidate.name


def _draw(decision: Decision, uniform: float) -> tuple[Decision, Exploration | None, str]:
    explored, exploration = explore(decision, SETTINGS, PLENTY, uniform)
    return explored, exploration, explored.choices[0].candidate.name


def _run(world: World, seed: int) -> list[Estimate]:
    """One log of the policy, judged three ways."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, len(world.table), DRAWS)
    taken = [_draw(world.decisions[row], float(rng.random())) for row in rows]
    labelled = rng.random(DRAWS) < LABELLED
    hit = np.array([name == world.targets[row] for row, (_, _, name) in zip(rows, taken, strict=True)], dtype=float)
    propensity = np.array([explored.propensity for explored, _, _ in taken])
    weights = importance(hit, propensity, LABELLED) * labelled
    rewards = np.array([world.score(row, name) for row, (_, _, name) in zip(rows, taken, strict=True)]) * labelled
    forecasts = [_qualities(world.decisions[row]) for row in rows]
    predicted = np.array([known[name] for known, (_, _, name) in zip(forecasts, taken, strict=True)])
    of_target = np.array([known[world.targets[row]] for known, row in zip(forecasts, rows, strict=True)])
    return [ips(rewards, weights), snips(rewards, weights), doubly_robust(rewards, weights, predicted, of_target)]


def _qualities(decision: Decision) -> dict[str, float]:
    return {row.candidate.name: row.forecast.quality for row in decision.choices if row.forecast is not None}


def test_the_true_mean_lies_within_two_standard_errors_in_93_of_100_runs(world: World) -> None:
    found = [_run(world, seed) for seed in range(RUNS)]
    for place, name in enumerate(("IPS", "SNIPS", "DR")):
        within = sum(abs(run[place].value - world.truth) <= 2 * run[place].standard_error for run in found)
        error = np.mean([run[place].standard_error for run in found])
        mean = np.mean([run[place].value for run in found])
        print(f"{name}: {within} of {RUNS} within 2 SE; truth {world.truth:.4f}, mean {mean:.4f}, SE {error:.4f}")
        assert within >= 93, name
        assert abs(mean - world.truth) < 4 * error / math.sqrt(RUNS), f"{name} is biased"
    logged = np.mean([world.score(row, d.choices[0].candidate.name) for row, d in enumerate(world.decisions)])
    assert abs(logged - world.truth) > 2 * np.mean([run[1].standard_error for run in found]), "it is another policy"


def test_weights_that_went_through_log_and_export_give_the_same_estimate(world: World, tmp_path: Path) -> None:
    """The very numbers of a run, through the log, its labels and `loupe table export`."""
    rng = np.random.default_rng(5)
    rows = rng.integers(0, len(world.table), DRAWS)
    store, taken, labels = tmp_path / "loupe.sqlite", [], []
    with log_at(store) as log:
        for number, row in enumerate(rows):
            explored, exploration, name = _draw(world.decisions[row], float(rng.random()))
            taken.append((row, name, explored.propensity))
            made = full(number, f"query {row}", pictures=(), candidate=name, decision=explored, exploration=exploration)
            log.observe(made._replace(propensity=explored.propensity, started_at=made.started_at + number))
            if rng.random() < LABELLED:
                labels.append(Label(f"req_{number}", world.score(row, name), "grader", "1", LABELLED))
    put_labels(decisions_path(store), labels, full().started_at + DRAWS)
    assert main(["table", "export", "--store", str(store), "--out", str(tmp_path / "out")]) == 0
    table = read_table(tmp_path / "out")
    assert len(table) == len(labels)

    cells, columns = np.nonzero(table.mask)
    numbers = np.array([int(table.query_ids[cell].removeprefix("req_")) for cell in cells])
    hit = np.array([table.candidates[c] == world.targets[rows[n]] for c, n in zip(columns, numbers, strict=True)])
    weights, rewards = np.zeros(DRAWS), np.zeros(DRAWS)
    weights[numbers] = table.weights[cells, columns] * hit
    rewards[numbers] = table.score[cells, columns]
    direct = np.zeros(DRAWS)
    for one in labels:
        number = int(one.request_id.removeprefix("req_"))
        row, name, propensity = taken[number]
        direct[number] = (name == world.targets[row]) / (propensity * LABELLED)
    np.testing.assert_allclose(weights, direct, rtol=1e-12)
    found = ips(rewards, weights)
    assert abs(found.value - world.truth) < 3 * found.standard_error
    assert len(set(table.groups)) == len({int(rows[number]) for number in numbers}), "a query's decisions stay together"
