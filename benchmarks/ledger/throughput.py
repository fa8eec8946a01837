"""Measure the cost of the ledger: reservations and settlements per second, and the time of the slowest hundredth.

    python -m benchmarks.ledger.throughput [--stores sqlite redis memory] [--processes 1 4] [--pairs N] [--rounds R]
        [--json FILE]

Every process keeps `--at-once` requests in flight, each a reservation and then its settlement in two hard windows of
one tenant, on an event loop like the gateway's. Redis is a separate process (append-only file, synced every second);
SQLite is one file that all processes share. A memory store is private to its process: with four processes, its figures
show what the machine can do, not what a shared ledger could do. Afterwards the windows must show exactly what was
charged, and nothing reserved, else the exit status is 1. The processor time of Redis itself is not in the column.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from benchmarks.common.result import bullets, circumstances, deliver
from gateway.billing.reservation import Grant, Reservation
from gateway.billing.window import Window
from gateway.stores.memory import MemoryStore
from gateway.stores.redis.budgets import RedisSettings, RedisStore
from gateway.stores.sqlite.budgets import SqliteStore
from tests.gateway.stores.redis.redis_server import RedisServer

STORES = ("sqlite", "redis", "memory")
PACKAGES = ("loupe", "redis", "uvloop")
HELD, CHARGED = 1_000, 400
"""The reserved and the charged nanodollars of each request."""
WINDOWS = (Window("bench/day/1", 10**15, 0.0, None), Window("bench/total", 10**15, 0.0, None))
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Task:
    """The work of one process. `place` is the store's file or address; `lap` makes its reservations' names distinct."""

    store: str
    place: str
    lap: str
    pairs: int
    at_once: int


@dataclass(frozen=True, slots=True)
class Lap:
    """The results of one process. All times are in seconds.

    Attributes:
        began, ended: when the process began and ended.
        pairs_s: the time of each pair.
        cpu_s: the processor time.
        stands: (spent, held) of each window at the end, as this process sees them.
    """

    began: float
    ended: float
    pairs_s: list[float]
    cpu_s: float
    stands: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Row:
    """The results of one store with a number of processes: each the median, the least and the greatest over rounds."""

    store: str
    processes: int
    pairs_per_second: tuple[float, float, float]
    p50_ms: tuple[float, float, float]
    p99_ms: tuple[float, float, float]
    cpu_us_per_pair: tuple[float, float, float]
    laws_hold: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results if asked. Returns 1 when a law does not hold."""
    arguments = _arguments(argv)
    rows = [_row(arguments, store, processes) for store in arguments.stores for processes in arguments.processes]
    right = all(row.laws_hold for row in rows)
    result: dict[str, Any] = {
        **circumstances("ledger.throughput", argv, PACKAGES),
        "seeds": [],
        "pairs": arguments.pairs,
        "at_once": arguments.at_once,
        "rounds": arguments.rounds,
        "rows": [asdict(row) for row in rows],
        "laws_hold": right,
    }
    deliver(arguments, result, "ledger", _text(result, rows))
    return 0 if right else 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger.throughput", description=__doc__)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--pairs", type=int, default=20_000, help="of all processes together, each round")
    parser.add_argument("--at-once", type=int, default=16, help="requests that each process has under way")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="a page whose part on this is renewed")
    return parser.parse_args(argv)


def _row(arguments: argparse.Namespace, store: str, processes: int) -> Row:
    measured, right = [], True
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory(prefix="loupe-ledger-") as folder, _place(store, Path(folder)) as place:
            share = arguments.pairs // processes
            tasks = [Task(store, place, f"{number}.{each}", share, arguments.at_once) for each in range(processes)]
            laps = _together(tasks)
            right = right and _stands(store, place, laps) == [(share * processes * CHARGED, 0)] * len(WINDOWS)
        measured.append(_figures(laps))
    rates, halves, slowest, cpu = zip(*measured, strict=True)
    return Row(store, processes, _spread(rates), _spread(halves), _spread(slowest), _spread(cpu), right)


@contextmanager
def _place(store: str, folder: Path) -> Iterator[str]:
    if store != "redis":
        yield str(folder / "loupe.sqlite")
        return
    server = RedisServer(folder, sync="everysec")
    try:
        yield server.url
    finally:
        server.stop()


def _together(tasks: Sequence[Task]) -> list[Lap]:
    """Run each task in a separate process; all begin at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(tasks))
    with context.Pool(len(tasks), _be_ready, (barrier,)) as pool:
        return pool.map(_lap, tasks, chunksize=1)


def _be_ready(barrier: Barrier) -> None:
    _lap.barrier = barrier  # type: ignore[attr-defined]


def _lap(task: Task) -> Lap:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(task, _lap.barrier))  # type: ignore[attr-defined]


async def _run(task: Task, barrier: Barrier) -> Lap:
    store = _store(task.store, task.place)
    await store.open()
    pairs_s: list[float] = []
    left = iter(range(task.pairs))
    await _pair(store, f"bench/warm.{task.lap}", 0)  # connects, and creates the windows
    barrier.wait(PATIENCE_S)
    began, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(_client(store, task.lap, left, pairs_s) for _ in range(task.at_once)))
    ended, cpu = time.monotonic(), time.process_time() - cpu
    stands = [(balance.spent, balance.held) for balance in await store.balances(WINDOWS)]
    await store.close()
    return Lap(began, ended, pairs_s, cpu, stands)


async def _client(store: Any, lap: str, left: Iterator[int], pairs_s: list[float]) -> None:
    for number in left:
        since = time.perf_counter()
        await _pair(store, f"bench/{lap}.{number}", CHARGED)
        pairs_s.append(time.perf_counter() - since)


async def _pair(store: Any, name: str, charge: int) -> None:
    answer = await store.reserve(Reservation(name, WINDOWS, HELD, HELD, PATIENCE_S))
    if not isinstance(answer, Grant) or not await store.settle(name, charge):
        raise SystemExit(f"{name}: {answer}, or it was settled before")


def _store(kind: str, place: str) -> Any:
    if kind == "sqlite":
        return SqliteStore(place, time.time)
    return RedisStore(RedisSettings(place, limit_s=10.0), time.time) if kind == "redis" else MemoryStore(time.time)


def _stands(store: str, place: str, laps: Sequence[Lap]) -> list[tuple[int, int]]:
    """Return (spent, held) of each window after all processes have ended."""

    async def asked() -> list[tuple[int, int]]:
        opened = _store(store, place)
        await opened.open()
        found = [(balance.spent, balance.held) for balance in await opened.balances(WINDOWS)]
        await opened.close()
        return found

    if store != "memory":
        return asyncio.run(asked())
    return [
        (sum(spent for spent, _ in each), sum(held for _, held in each))
        for each in zip(*(lap.stands for lap in laps), strict=True)
    ]


def _figures(laps: Sequence[Lap]) -> tuple[float, float, float, float]:
    """Return pairs per second, the median and the 99th percentile in ms, and processor us per pair, without Redis's."""
    pairs = sorted(each for lap in laps for each in lap.pairs_s)
    seconds = max(lap.ended for lap in laps) - min(lap.began for lap in laps)
    at = [pairs[min(int(len(pairs) * share), len(pairs) - 1)] * 1_000 for share in (0.5, 0.99)]
    return len(pairs) / seconds, at[0], at[1], sum(lap.cpu_s for lap in laps) / len(pairs) * 1e6


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return median(values), min(values), max(values)


def _text(result: Mapping[str, Any], rows: Sequence[Row]) -> str:
    lines = bullets(result, ("command", "versions", "cores", "pairs", "at_once", "rounds"))
    lines += [
        "",
        "| store | processes | pairs/s | p50 ms | p99 ms | CPU us/pair | laws |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        spreads = (
            (row.pairs_per_second, ",.0f"), (row.p50_ms, ".2f"), (row.p99_ms, ".2f"), (row.cpu_us_per_pair, ".0f")
        )  # fmt: skip
        cells = [f"{middle:{form}} [{least:{form}}..{most:{form}}]" for (middle, least, most), form in spreads]
        laws = "hold" if row.laws_hold else "DO NOT HOLD"
        lines.append(f"| {row.store} | {row.processes} | {' | '.join(cells)} | {laws} |")
    return "\n".join([*lines, "", "Median over the rounds [least..greatest]."])


if __name__ == "__main__":
    sys.exit(main())
