"""Compare pacing with other ways to spend a budget: the score for the same money, and whether the money lasts.

    python -m benchmarks.pacing [--quick] [--json FILE] [--plot FILE.png]

A tenant sends 100,000 requests within ten days, by day and night. Traffic doubles on day 5, and the best candidate's
price rises by half on day 7; the budget is 40% of what the best single candidate would cost. Scores are those of real
outcome tables, on queries that the router did not learn from; tokens and costs are simulated in these tables (drawn
once, at list prices). The same ledger holds every policy to the budget, with reservations at the highest possible cost;
a refused request scores 0. The tables are those that ship with Loupe in numbers, unless `--table` names files.

`paced` starts without any knowledge of the tenant. Its rivals are these: `greedy` takes the best forecast until the
money is gone; `fixed` takes one lambda, tuned so that the first day's requests spend a tenth of the budget; `threshold`
takes the best single candidate until 80% is spent, then the best of the candidates that cost a fifth or less.
`hindsight` is not a rival but a yardstick: the one rate of quality for money that just fits, known only afterwards.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from benchmarks.common.result import command_of, write_json
from benchmarks.pacing.policies import Fixed, Paced, Point, Policy, Threshold, run
from benchmarks.pacing.rates import Envelopes
from benchmarks.pacing.report import (
    FIXED,
    GREEDY,
    HINDSIGHT,
    PACED,
    THRESHOLD,
    Result,
    as_json,
    as_text,
    drawn,
    headline,
    result,
)
from benchmarks.pacing.world import DAY, Scenario, Taught, World, play, teach
from gateway.routing.pacing.settings import PacingSettings
from routers.evaluation.reports.versions import package_versions
from routers.registry import ALGORITHMS
from routers.table.numeric import load_offline
from routers.table.outcome_table import Dataset

MAIN = Scenario()
STRESS = (
    replace(MAIN, name="nothing happens", step=1.0, price_factor=1.0),
    replace(MAIN, name="bursts of 20 times the traffic", bursts=True),
    replace(MAIN, name="budget cut by 30% on day 6", budget_at=6.0, budget_factor=0.7),
    replace(MAIN, name="budget raised by 30% on day 6", budget_at=6.0, budget_factor=1.3),
    replace(MAIN, name="forecast tokens 20% too high", forecast_bias=1.2),
    replace(MAIN, name="forecast tokens 20% too low", forecast_bias=0.8),
    replace(MAIN, name="price change that the list does not tell", is_price_told=False),
    replace(MAIN, name="half a day's outage and a restart on day 6", outage=(6.25, 6.75)),
    replace(MAIN, name="4 processes that know nothing of each other", processes=4),
)
UNIFORM = "evenly over time, no shape learned"


@dataclass(frozen=True, slots=True)
class Task:
    """One table under one seed in one scenario; `policies` are the names of the policies to play."""

    taught: Taught
    scenario: Scenario
    seed: int
    policies: tuple[str, ...]
    learns_shape: bool = True


def main(words: Sequence[str] | None = None) -> int:
    """Play all policies, print, and write the results if asked.

    Returns 0 when pacing kept to its plan within 1% and beat its rivals in every run, and no policy passed the budget.
    """
    arguments = _arguments(words)
    began = time.monotonic()
    datasets, source = _datasets(arguments)
    datasets = [data for data in datasets if arguments.only in (None, data.name)]
    seeds = tuple(range(arguments.seeds))
    scenario = replace(MAIN, requests=arguments.requests)
    facts = {
        "command": command_of("pacing", words),
        "versions": package_versions(("loupe", "numpy")),
        "seeds": list(seeds),
        "requests": arguments.requests,
        "tables": source,
        "router": f"{arguments.router}, learned from 20% of the groups, by a split of each seed",
    }
    print("\n".join(f"{name}: {fact}" for name, fact in facts.items()), flush=True)
    taught = {seed: [teach(data, seed, arguments.router) for data in datasets] for seed in seeds}
    everybody = (PACED, GREEDY, FIXED, THRESHOLD, HINDSIGHT)
    wanted = [Task(one, scenario, seed, everybody) for seed in seeds for one in taught[seed]]
    found, curves = _play_all(wanted, arguments.jobs)
    print(f"\n{as_text(found)}")
    if arguments.plot is not None:
        arguments.plot.write_bytes(drawn(curves, found))
    stress: list[Result] = []
    if not arguments.quick:
        stress, _ = _play_all(_stress(taught[0], arguments.requests // 5), arguments.jobs)
        print(f"\nStress, seed 0, {arguments.requests // 5:,} requests\n{as_text(stress)}")
    facts["took_s"] = round(time.monotonic() - began, 1)
    whole = as_json(facts, found, stress)
    print("\n" + "\n".join(f"{name}: {value:.6g}" for name, value in headline(found).items()))
    write_json(arguments.json, whole)
    return 0 if _holds(whole) else 1


def play_task(task: Task) -> list[tuple[Result, list[Point]]]:
    """Draw the stream and run each policy on it."""
    world = play(task.scenario, task.taught, task.seed)
    where = (task.taught.name, task.scenario.name, task.seed)
    found = []
    for name in task.policies:
        played = run(world, _policy(name, world, PacingSettings(learns_shape=task.learns_shape)))
        found.append((result(where, name, played), played.curve))
    return found


def _policy(name: str, world: World, settings: PacingSettings) -> Policy:
    if name == PACED:
        return Paced(world, settings)
    if name == GREEDY:
        return Fixed(world, 0.0)
    if name == THRESHOLD:
        return Threshold(world)
    scenario = world.scenario
    if name == FIXED:
        first_day = Envelopes.of(world, scenario.starts_at + DAY)
        return Fixed(world, first_day.tuned(world.budget / scenario.days))
    return Fixed(world, Envelopes.of(world).hindsight(world, world.limit_at(scenario.ends_at)))


def _stress(taught: Sequence[Taught], requests: int) -> list[Task]:
    policies = (PACED, THRESHOLD, HINDSIGHT)
    found = [Task(one, replace(what, requests=requests), 0, policies) for one in taught for what in STRESS]
    uniform = replace(MAIN, requests=requests, name=UNIFORM)
    return found + [Task(one, uniform, 0, policies, learns_shape=False) for one in taught]


def _play_all(wanted: Sequence[Task], jobs: int) -> tuple[list[Result], dict[str, dict[str, list[Point]]]]:
    """Play all tasks. Returns all results, and each table's first curves by policy."""
    found: list[Result] = []
    curves: dict[str, dict[str, list[Point]]] = {}
    with ProcessPoolExecutor(jobs) as pool:
        for task, played in zip(wanted, pool.map(play_task, wanted), strict=True):
            print(f"seed {task.seed}, {as_text([one for one, _ in played])}", file=sys.stderr, flush=True)
            found.extend(one for one, _ in played)
            curves.setdefault(task.taught.name, {one.policy: curve for one, curve in played})
    return found, curves


def _holds(found: dict[str, object]) -> bool:
    worst, over = found["worst_plan_miss"], found["cap_violations"]
    return isinstance(worst, float) and worst < 0.01 and not over and found["runs_won"] == found["runs"]


def _datasets(arguments: argparse.Namespace) -> tuple[list[Dataset], str]:
    """Return the tables of files, or those that ship with Loupe, and a text that names their origin."""
    if not arguments.table:
        offline = load_offline()
        return list(offline.datasets), "real scores of DynaMath and BlindTest, as bundled; tokens and costs simulated"
    given = import_module("gateway.cli.routers.bench").read_given(arguments.table, arguments)  # reads images: heavy
    return list(given.datasets), ", ".join(str(path.name) for path in arguments.table)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pacing", description="Pacing against its rivals.")
    parser.add_argument("--table", action="append", type=Path, default=[], help="MMR-Bench CSV, instead of the bundled")
    parser.add_argument("--only", metavar="NAME", help="play on this table alone")
    parser.add_argument("--images", type=Path, help="folder of the images of --table; by default each table's own")
    parser.add_argument("--encoder", default="fused-lite", help="for --table")
    parser.add_argument("--embeddings", type=Path, metavar="FILE", help="keep vectors of --table in this .npz")
    parser.add_argument("--router", choices=sorted(ALGORITHMS), default="linear_mf", help="the default fits in seconds")
    parser.add_argument("--requests", type=int, default=MAIN.requests, help="of one run")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="splits and streams")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="processes")
    parser.add_argument("--quick", action="store_true", help="20,000 requests, two seeds, no stress")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a PNG there")
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.requests, arguments.seeds = min(arguments.requests, 20_000), min(arguments.seeds, 2)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
