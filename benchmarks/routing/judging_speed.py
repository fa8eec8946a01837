"""Measure the time of judging: the exact sweep and every figure on a drawn table, and fitting the classical routers.

    python -m benchmarks.routing.judging_speed [--queries N] [--candidates K] [--rounds R] [--no-fits] [--json FILE]

The goals: an exact sweep of 11,000 x 10 cells within 100 ms, and all classical routers fitted and judged on the
bundled tables within 60 s on two cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common.result import command_of, write_json
from gateway.cli.routers.bench import teller
from routers.base import Forecast
from routers.evaluation.bench import JudgeSettings, tasks, within
from routers.evaluation.bootstrap import Resamples, rejudge
from routers.evaluation.judge import Policy, judge
from routers.evaluation.metrics import sweep
from routers.evaluation.paper_protocol import Paper
from routers.evaluation.protocol import Measure, SharedSweep
from routers.evaluation.reports.versions import package_versions
from routers.evaluation.workers import run_tasks
from routers.registry import ALGORITHMS
from routers.table.numeric import load_offline
from routers.table.outcome_table import OutcomeTable

CLASSICAL = ("linear", "linear_mf", "knn", "kmeans", "kmeans_adaptive", "prior", "shrunken_knn", "extra_trees")
"""The routers without a network: neighbours, clusters, linear maps and trees. Baselines are judged with them."""

SWEEP_GOAL_S, FITS_GOAL_S = 0.1, 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results if asked. Returns 1 when a goal is missed."""
    arguments = _arguments(argv)
    table, forecast = drawn(arguments.queries, arguments.candidates, arguments.seed)
    steps = [_timed(name, step, arguments.rounds) for name, step in _steps(table, forecast, arguments.replicates)]
    fits = None if arguments.no_fits else _fits(arguments.jobs)
    facts = {
        "command": command_of("routing.judging_speed", arguments.words),
        "table": f"{len(table)} x {len(table.candidates)}, drawn with seed {arguments.seed}",
        "rounds": arguments.rounds,
        "versions": package_versions(),
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
    }
    for name, value in facts.items():
        print(f"{name}: {value}")
    for step in steps:
        print(f"{step['name']:<44}{step['median_ms']:>10.1f} ms  [{step['least_ms']:.1f}..{step['greatest_ms']:.1f}]")
    met = steps[0]["least_ms"] / 1000 <= SWEEP_GOAL_S
    print(f"sweep: goal {SWEEP_GOAL_S * 1000:.0f} ms: {'met' if met else 'MISSED'}")
    if fits is not None:
        in_time = fits["took_s"] <= FITS_GOAL_S
        met = met and in_time
        print(
            f"{', '.join(fits['routers'])}: fitted and judged on {', '.join(fits['tables'])}, one split each, ", end=""
        )
        print(f"in {fits['took_s']:.1f} s with {arguments.jobs} processes: goal {FITS_GOAL_S:.0f} s: ", end="")
        print("met" if in_time else "MISSED")
    write_json(arguments.json, facts | {"steps": steps, "fits": fits})
    return 0 if met else 1


def drawn(queries: int, candidates: int, seed: int) -> tuple[OutcomeTable, Forecast]:
    """Return a table whose forecasts all differ, so that no breakpoint is shared: the worst case of the sweep."""
    random = np.random.default_rng(seed)
    shape = (queries, candidates)
    quality = random.random(shape)
    tokens = np.round(np.exp(5 + random.standard_normal(shape))).astype(np.float64)
    table = OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(queries)),
        groups=tuple(f"g{row // 4}" for row in range(queries)),
        questions=("",) * queries,
        image_paths=(None,) * queries,
        candidates=tuple(f"candidate-{column}" for column in range(candidates)),
        score=(random.random(shape) < quality).astype(np.float64),
        output_tokens=tokens,
        cost_usd=tokens * np.geomspace(1e-6, 1e-4, candidates) * random.uniform(0.8, 1.2, shape),
    )
    return table, Forecast(quality, np.zeros(shape), tokens, tokens * 2)


def _steps(table: OutcomeTable, forecast: Forecast, replicates: int) -> Iterator[tuple[str, Callable[[], object]]]:
    expected = table.cost_usd * 1.1
    weights = Resamples.draw(table.groups, replicates, 1).weights(table.groups)
    yield "exact sweep", partial(sweep, forecast.quality, expected, table.score, table.cost_usd)
    measures: tuple[Measure, ...] = (SharedSweep(), Paper())
    for measure in measures:
        policy = Policy("drawn", measure.decide(forecast.quality, expected, table), forecast)
        yield f"decisions, {measure.name} protocol", partial(measure.decide, forecast.quality, expected, table)
        yield f"all figures, {measure.name} protocol", partial(judge, policy, table, measure)
        yield f"bootstrap of {replicates}, {measure.name} protocol", partial(rejudge, policy, table, measure, weights)


def _timed(name: str, step: Callable[[], object], rounds: int) -> dict[str, Any]:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        step()
        taken.append((time.perf_counter() - began) * 1000)
    return {"name": name, "median_ms": median(taken), "least_ms": min(taken), "greatest_ms": max(taken)}


def _fits(jobs: int) -> dict[str, Any]:
    blocks = [within(data, 0.2, (0,)) for data in load_offline().datasets]
    routers = [name for name in CLASSICAL if name in ALGORITHMS]
    began = time.perf_counter()
    found = run_tasks(blocks, tasks(blocks, routers, ["both"]), JudgeSettings((SharedSweep(),)), jobs, teller(blocks))
    took = time.perf_counter() - began
    seconds = {
        f"{blocks[judged.task.block].name} {judged.policy}": judged.fit_s for judged in found if judged.fit_s > 0
    }
    return {"routers": routers, "tables": [block.name for block in blocks], "took_s": took, "fit_s": seconds}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=11_000)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--no-fits", action="store_true", help="leave out the routers")
    parser.add_argument("--json", type=Path, metavar="FILE")
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    arguments.words = words
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
