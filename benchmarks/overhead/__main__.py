"""Measure what the gateway adds: latency and requests/s on one pinned core, against no gateway and FastAPI + httpx.

    python -m benchmarks.overhead [--quick] [--json FILE] [--markdown FILE]

Four subjects answer the same bytes in the same run, taking turns in every cell, in an order that rotates every round:
`direct` (the client calls the canned provider directly), `loupe` (`loupe serve` with keys, ledger, routing, request
log, metrics and decision log on), `loupe_compiled` (the same from `build/compiled`, if `make compiled` has built it)
and `fastapi_httpx` (`baseline.py`, which does none of that). All gateways are pinned to one core, and while one is
measured the others are frozen; load client and canned provider share another core. Afterwards the ledgers, the logs
and the decisions are compared with the provider's own count: the exit status is 1 when they disagree. All processes
listen on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import shlex
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.common.load_client import Load, Measured, drive
from benchmarks.common.processes import Pinned, busy_seconds, free_port, pinned_to
from benchmarks.common.result import command_of, deliver
from benchmarks.overhead.gateway import Check, audit, spent_nanodollars, write_config
from benchmarks.overhead.report import (
    BASELINE,
    COMPILED,
    GATEWAYS,
    PEER,
    SUBJECTS,
    Cell,
    environment,
    markdown,
    percentile,
    summarise,
)
from benchmarks.overhead.workloads import Workload, workloads

ROOT = Path(__file__).resolve().parents[2]
COMPILED_TREE = ROOT / "build" / "compiled"
PACKAGES = ("gateway", "routers", "models")
SERVE = (sys.executable, "-m", "gateway.cli", "serve")


@dataclass(frozen=True, slots=True)
class Plan:
    """The extent of the measurement. A cell ends after `count` requests or `seconds`, whichever is first."""

    rounds: int = 5
    seconds: float = 1.2
    count: int = 20_000
    connections: tuple[int, ...] = (1, 16, 64)
    kinds: tuple[str, ...] = ("text", "image", "stream")
    subjects: tuple[str, ...] = SUBJECTS
    seed: int = 20_261
    serve: tuple[str, ...] = SERVE


@dataclass(slots=True)
class Subject:
    """A subject that answers at a port; `process` is its gateway, None for `direct`."""

    name: str
    port: int
    process: Pinned | None = None
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """All measurements, and the checks whether the gateways did their work."""

    cells: list[Cell]
    checks: list[Check]
    gateway_core: int
    client_core: int
    took_s: float


def run(plan: Plan) -> Result:
    """Start all processes, measure, end all processes, and audit."""
    began = time.monotonic()
    cores = sorted(os.sched_getaffinity(0))
    gateway_core, client_core = cores[-1], cores[0]
    cells: list[Cell] = []
    with ExitStack() as stack:
        stack.enter_context(pinned_to(client_core))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loupe-overhead-")))
        provider = Pinned(
            [sys.executable, "-m", "benchmarks.common.canned_provider"], client_core, folder / "a", cwd=ROOT
        )
        stack.callback(provider.end)
        provider_port = provider.printed_port()
        subjects = [_start(name, plan, folder, provider_port, gateway_core, stack) for name in plan.subjects]
        kinds = [kind for kind in workloads(plan.seed) if kind.name in plan.kinds]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for subject in subjects:
                _warm_up(runner, subject, kinds)
            for round_number in range(plan.rounds):
                cells += _round(runner, plan, round_number, subjects, kinds, gateway_core)
        checks = _audit([subject for subject in subjects if subject.name in GATEWAYS], folder, provider_port)
    return Result(cells, checks, gateway_core, client_core, time.monotonic() - began)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    if sys.platform != "linux":
        print("the overhead benchmark pins and freezes processes as Linux does it, and needs Linux", file=sys.stderr)
        return 1
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # even as a background job, which a shell starts deaf to it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # so that all processes are ended
    plan = Plan(rounds=arguments.rounds, subjects=available(arguments.subjects), serve=tuple(arguments.serve))
    if arguments.quick:
        plan = replace(plan, rounds=2, seconds=0.4)
    if arguments.only:
        kind, _, connections = arguments.only.partition("@")
        chosen = (int(connections),) if connections else plan.connections
        plan = replace(plan, kinds=(kind,), connections=chosen)
    try:
        result = run(plan)
    except KeyboardInterrupt:
        return 130
    report(plan, result, arguments, argv)
    return 0 if all(check.holds for check in result.checks) else 1


def available(subjects: Sequence[str]) -> tuple[str, ...]:
    """Return the subjects that can run here, and print the reason for each that is left out.

    The pass-through needs httpx, and the compiled gateway must be built from the present sources.
    """
    missing: dict[str, str] = {}
    if importlib.util.find_spec("httpx") is None:
        missing[PEER] = "httpx is not installed (pip install -e .[bench])"
    if not _is_of_this_tree(COMPILED_TREE):
        missing[COMPILED] = "build/compiled is not made, or of other sources (make compiled)"
    for name in subjects:
        if name in missing:
            print(f"{name} is left out: {missing[name]}", file=sys.stderr)
    return tuple(subject for subject in subjects if subject not in missing)


def _is_of_this_tree(tree: Path) -> bool:
    """Return whether a compiled copy holds the same sources as this tree."""
    names = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    own = [(tree / name, ROOT / name) for name in (*names, Path("pyproject.toml"))]
    return all(copy.is_file() and copy.read_bytes() == source.read_bytes() for copy, source in own)


def report(plan: Plan, result: Result, arguments: argparse.Namespace, words: Sequence[str] | None) -> None:
    """Print the result, and write it to the requested files."""
    facts = {"command": command_of("overhead", words), **environment(), **_about(plan, result)}
    table = markdown(facts, summarise(result.cells), result.checks)
    deliver(arguments, _as_json(facts, result), "overhead", table)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two short rounds: under 40 s, and a wide spread")
    parser.add_argument("--rounds", type=int, default=Plan().rounds)
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=SUBJECTS)
    parser.add_argument("--only", metavar="KIND[@C]", help="one kind (text, image, stream), at one concurrency")
    parser.add_argument("--serve", type=shlex.split, default=SERVE, help="what starts the gateway, before --config")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every cell, every check, the summary")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables, into a page between their marks")
    return parser.parse_args(argv)


def _start(name: str, plan: Plan, folder: Path, provider_port: int, core: int, stack: ExitStack) -> Subject:
    """Start a subject, wait until it answers, and freeze it until its turn to be measured."""
    if name == BASELINE:
        return Subject(name, provider_port)
    port, tree = free_port(), ROOT
    if name in GATEWAYS:
        (folder / name).mkdir()
        command = [*plan.serve, "--config", str(write_config(folder / name, port, provider_port))]
        path = "readyz"
        tree = COMPILED_TREE if name == COMPILED else ROOT
    else:
        command = [sys.executable, "-m", "benchmarks.overhead.baseline", str(port), str(provider_port)]
        path = ""
    process = Pinned(command, core, folder / f"{name}.log", cwd=tree)
    stack.callback(process.end)
    process.wait_until_ready(f"http://127.0.0.1:{port}/{path}")
    process.freeze()
    return Subject(name, port, process)


@contextmanager
def _awake(subject: Subject) -> Iterator[None]:
    if subject.process is None:
        yield
        return
    subject.process.thaw()
    try:
        yield
    finally:
        subject.process.freeze()


def _warm_up(runner: asyncio.Runner, subject: Subject, kinds: Sequence[Workload]) -> None:
    """Send every request alone, which fills the encoder's cache, then some requests at once."""
    with _awake(subject):
        for kind in kinds:
            _drive(runner, subject, Load(kind.requests, kind.ending, 1, len(kind.requests), 30))
            _drive(runner, subject, Load(kind.requests, kind.ending, 16, 200, 2))


def _round(
    runner: asyncio.Runner,
    plan: Plan,
    round_number: int,
    subjects: Sequence[Subject],
    kinds: Sequence[Workload],
    core: int,
) -> Iterator[Cell]:
    """Measure every cell once; the first subject changes from cell to cell and from round to round."""
    first = round_number
    for kind in kinds:
        for connections in plan.connections:
            order = [subjects[(first + i) % len(subjects)] for i in range(len(subjects))]
            first += 1
            for subject in order:
                yield _cell(runner, plan, round_number, subject, kind, connections, core)


def _cell(
    runner: asyncio.Runner,
    plan: Plan,
    round_number: int,
    subject: Subject,
    kind: Workload,
    connections: int,
    core: int,
) -> Cell:
    process = subject.process
    with _awake(subject):
        settle_in = Load(kind.requests, kind.ending, connections, 2 * connections, 5)  # opens pooled connections
        _drive(runner, subject, settle_in)
        busy, used = busy_seconds(core), process.cpu_seconds() if process else 0.0
        load = Load(kind.requests, kind.ending, connections, plan.count, plan.seconds)
        measured = _drive(runner, subject, load)
        used = process.cpu_seconds() - used if process else 0.0
        others = max(busy_seconds(core) - busy - used, 0.0)
    done = len(measured.latencies)
    return Cell(
        round=round_number,
        subject=subject.name,
        kind=kind.name,
        connections=connections,
        requests=done,
        per_second=measured.per_second,
        p50_ms=percentile(measured.latencies, 50) * 1e3,
        p99_ms=percentile(measured.latencies, 99) * 1e3,
        first_byte_p50_ms=percentile(measured.first_bytes, 50) * 1e3,
        cpu_us=used / done * 1e6 if process else None,
        others_share=others / measured.elapsed if process else None,
    )


def _drive(runner: asyncio.Runner, subject: Subject, load: Load) -> Measured:
    measured = runner.run(drive(subject.port, load))
    subject.requests += len(measured.latencies)
    return measured


def _audit(gateways: Sequence[Subject], folder: Path, provider_port: int) -> list[Check]:
    """Audit all gateways together, because the provider does not know which gateway sent a request."""
    if not gateways:
        return []
    spent = 0
    with urllib.request.urlopen(f"http://127.0.0.1:{provider_port}/counts", timeout=10) as reply:
        counts: dict[str, int] = json.load(reply)
    for gateway in gateways:
        assert gateway.process is not None
        gateway.process.thaw()
        spent += spent_nanodollars(gateway.port)
        gateway.process.end()  # the gateway then writes the waiting records
    folders = [folder / gateway.name for gateway in gateways]
    return audit(folders, sum(gateway.requests for gateway in gateways), counts, spent)


def _about(plan: Plan, result: Result) -> dict[str, Any]:
    return {
        "seed": plan.seed,
        "rounds": plan.rounds,
        "cell": f"{plan.seconds:g} s or {plan.count:,} requests",
        "gateway core": result.gateway_core,
        "client and provider core": result.client_core,
        "took_s": round(result.took_s, 1),
    }


def _as_json(facts: dict[str, Any], result: Result) -> dict[str, Any]:
    return {
        **facts,
        "summary": [asdict(row) for row in summarise(result.cells)],
        "checks": [{**asdict(check), "holds": check.holds} for check in result.checks],
        "cells": [asdict(cell) for cell in result.cells],
    }


if __name__ == "__main__":
    sys.exit(main())
