"""Measure the time to write, read, merge, split and sweep a table of a million cells.

    python -m benchmarks.routing.table_io [--queries N] [--candidates K] [--rounds R] [--json FILE]

The table is drawn (seeded): multi-line questions of about 200 characters, an image path, groups of ten, 10% of the
cells missing, tokens and costs in all other cells. Each step is timed in every round, and the table that is read is
compared with the table that was written: the exit status is 1 when a bit differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common.result import circumstances, write_json
from routers.evaluation.metrics import sweep
from routers.table.formats import read_table, write_table
from routers.table.outcome_table import OutcomeTable, merge
from routers.table.split import grouped_splits

PACKAGES = ("loupe", "numpy", "pyarrow")
GROUP = 10
MISSING = 0.1


@dataclass(frozen=True, slots=True)
class Step:
    """One step over the rounds, in seconds; `cpu_s` is the median processor time, also valid on a busy machine."""

    name: str
    median_s: float
    least_s: float
    greatest_s: float
    cpu_s: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results if asked. Returns 1 when the tables read differ from those written."""
    arguments = _arguments(argv)
    table = drawn(arguments.queries, arguments.candidates, arguments.seed)
    seconds: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="loupe-table-") as folder:
        for _ in range(arguments.rounds):
            for name, taken in _round(table, Path(folder)):
                seconds.setdefault(name, []).append(taken)
        sizes = {name: _megabytes(Path(folder) / name) for name in ("table.csv", "table")}
        exact = _is_exact(table, Path(folder))
    steps = [_summary(name, taken) for name, taken in seconds.items()]
    result: dict[str, Any] = {
        **circumstances("routing.table_io", argv, PACKAGES),
        "seed": arguments.seed,
        "rounds": arguments.rounds,
        "queries": len(table),
        "candidates": len(table.candidates),
        "cells": int(table.mask.sum()),
        "megabytes": sizes,
        "exact": exact,
        "steps": [asdict(step) for step in steps],
    }
    _show(result, steps)
    write_json(arguments.json, result)
    return 0 if exact else 1


def drawn(queries: int, candidates: int, seed: int) -> OutcomeTable:
    """Return a drawn table of this size; the same seed gives the same table."""
    random = np.random.default_rng(seed)
    shape = (queries, candidates)
    hidden = random.random(shape) < MISSING
    score = (random.random(shape) < np.linspace(0.3, 0.8, candidates)).astype(np.float64)
    tokens = np.round(np.exp(5 + 0.5 * random.standard_normal(shape)))
    cost = tokens * np.geomspace(1e-7, 1e-5, candidates) * (1 + random.random((queries, 1)))
    for values in (score, tokens, cost):
        values[hidden] = np.nan
    asked = 'Look at the figure, and say what is\nasked of "line {0}", given that x = {0}; answer with a number. ' * 2
    return OutcomeTable(
        query_ids=tuple(f"q{row}" for row in range(queries)),
        groups=tuple(f"g{row // GROUP}" for row in range(queries)),
        questions=tuple(asked.format(row) for row in range(queries)),
        image_paths=tuple(Path("images") / f"{row}.jpg" for row in range(queries)),
        candidates=tuple(f"candidate-{column}" for column in range(candidates)),
        score=score,
        output_tokens=tokens,
        cost_usd=cost,
        details={"answer": tuple(str(row % 7) for row in range(queries))},
    )


def _summary(name: str, taken: Sequence[tuple[float, float]]) -> Step:
    wall, cpu = zip(*taken, strict=True)
    return Step(name, median_s=median(wall), least_s=min(wall), greatest_s=max(wall), cpu_s=median(cpu))


def _round(table: OutcomeTable, folder: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield each step's name, and its seconds on the clock and of the processor."""
    half = len(table) // 2
    expected = np.where(np.isnan(table.score), 0.5, 0.3 + 0.4 * table.score)
    price = np.tile(np.nanmean(table.cost_usd, axis=0), (len(table), 1))
    parts = [table.take(range(half)), table.take(range(half, len(table)))]
    steps: dict[str, Callable[[], object]] = {
        "write CSV": lambda: write_table(table, folder / "table.csv"),
        "read CSV": lambda: read_table(folder / "table.csv"),
        "write Parquet": lambda: write_table(table, folder / "table"),
        "read Parquet": lambda: read_table(folder / "table"),
        "merge two halves": lambda: merge(parts),
        "split by group, 5 seeds": lambda: list(grouped_splits(table.groups, 0.2, range(5))),
        "exact sweep": lambda: sweep(expected, price, table.score, table.cost_usd),
        "digest": lambda: table.digest,
    }
    for name, step in steps.items():
        began, busy = time.perf_counter(), time.process_time()
        step()
        yield name, (time.perf_counter() - began, time.process_time() - busy)


def _is_exact(table: OutcomeTable, folder: Path) -> bool:
    found = [read_table(folder / name) for name in ("table.csv", "table")]
    return all(
        other.digest == table.digest
        and other.details == table.details
        and other.arrays()[name].tobytes() == values.tobytes()
        for other in found
        for name, values in table.arrays().items()
    )


def _megabytes(path: Path) -> float:
    files = [path] if path.is_file() else list(path.iterdir())
    return round(sum(file.stat().st_size for file in files) / 1e6, 1)


def _show(result: Mapping[str, Any], steps: Sequence[Step]) -> None:
    print(result["command"])
    print(", ".join(f"{name} {version}" for name, version in result["versions"].items()))
    print(
        f"{result['queries']:,} queries x {result['candidates']} candidates, {result['cells']:,} cells, seed "
        f"{result['seed']}; on disk, MB: {result['megabytes']}; {'exact' if result['exact'] else 'NOT EXACT'}"
    )
    print(f"median of {result['rounds']} rounds [least..greatest] on {result['cores']} core(s)")
    for step in steps:
        spread = f"[{step.least_s:.3f}..{step.greatest_s:.3f}]"
        print(f"{step.name:<26}{step.median_s:8.3f} s  {spread:<20}{step.cpu_s:8.3f} s of processor time")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routing.table_io", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
