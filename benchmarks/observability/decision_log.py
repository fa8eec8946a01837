"""Measure the decision log's cost per request, and whether its writer keeps up: a steady load with and without the log.

    python -m benchmarks.observability.decision_log [--seconds S] [--rate R] [--slices N] [--kind text|image|stream]
        [--json FILE]

Two `loupe serve` processes on one pinned core, which differ only in `decisions.keep`, take turns under an open-loop
load of R requests per second: N slices each, in an order that is swapped every round. While one is measured, the other
is frozen. S is the total time of each under load. A latency counts from the time at which its request was due.
Afterwards the rows in the log are compared with the answers, and no record may be lost: the exit status is 1 when they
disagree.

Queries repeat, so that the encoder's time is not included. The writer alone, on distinct queries with an embedding
each, is timed separately (`writer`), in this process. All processes listen on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import sqlite3
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import uvloop

from benchmarks.common.paced_client import PacedLoad, pace
from benchmarks.common.processes import Pinned, free_port, pinned_to
from benchmarks.common.result import command_of, write_json
from benchmarks.observability.decision_writer import Written, time_writer
from benchmarks.overhead.gateway import write_config
from benchmarks.overhead.report import environment, percentile
from benchmarks.overhead.workloads import workloads

ROOT = Path(__file__).resolve().parents[2]
ON, OFF = "log on", "log off"
SEED = 20_261


@dataclass(frozen=True, slots=True)
class Plan:
    """The load to measure: each gateway is `seconds` under load, in `slices` turns."""

    seconds: float = 60.0
    rate: float = 500.0
    slices: int = 12
    kind: str = "text"
    writer_records: int = 10_000


@dataclass(frozen=True, slots=True)
class Slice:
    """One turn. Times are in ms, `cpu_us` is processor time per request, `resident_mib` is that at the turn's end."""

    round: int
    gateway: str
    requests: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    cpu_us: float
    resident_mib: float
    queued: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference `log on` minus `log off` over the rounds: its mean, and the standard error of this mean.

    A mean within 1.96 standard errors is noise.
    """

    name: str
    on: float
    off: float
    mean: float
    standard_error: float

    @property
    def is_noise(self) -> bool:
        return abs(self.mean) <= 1.96 * self.standard_error


@dataclass(frozen=True, slots=True)
class Result:
    slices: tuple[Slice, ...]
    differences: tuple[Difference, ...]
    rows: int
    answered: int
    lost: float
    longest_write_ms: float
    written: Written

    @property
    def holds(self) -> bool:
        """Return whether no record was lost."""
        return self.rows == self.answered and not self.lost and not self.written.lost


@dataclass(slots=True)
class _Gateway:
    name: str
    port: int
    process: Pinned
    folder: Path
    answered: int = 0


def run(plan: Plan) -> Result:
    """Start all processes, measure, end all processes, and count the rows."""
    cores = sorted(os.sched_getaffinity(0))
    kind = next(kind for kind in workloads(SEED) if kind.name == plan.kind)
    with ExitStack() as stack:
        stack.enter_context(pinned_to(cores[0]))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loupe-decision-log-")))
        provider = Pinned([sys.executable, "-m", "benchmarks.common.canned_provider"], cores[0], folder / "a", cwd=ROOT)
        stack.callback(provider.end)
        provider_port = provider.printed_port()
        gateways = [_start(name, folder, provider_port, cores[-1], stack) for name in (ON, OFF)]
        slices: list[Slice] = []
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for gateway in gateways:
                _slice(runner, gateway, PacedLoad(kind.requests, min(plan.rate, 50), 2), -1)
            load = PacedLoad(kind.requests, plan.rate, plan.seconds / plan.slices)
            for number in range(plan.slices):
                order = gateways if number % 2 else gateways[::-1]
                slices += [_slice(runner, gateway, load, number) for gateway in order]
        logged = gateways[0]
        logged.process.thaw()
        metrics = _metrics(logged.port)
        logged.process.end()  # the gateway then writes the waiting records
        with closing(sqlite3.connect(logged.folder / "loupe-decisions.sqlite")) as db:
            ((rows,),) = db.execute("SELECT count(*) FROM decisions WHERE outcome = 'ok'")
        written = time_writer(plan.writer_records, folder)
    lost, longest_s = metrics["loupe_decisions_lost_total"], metrics["loupe_decision_write_seconds"]
    return Result(tuple(slices), _differences(slices), rows, logged.answered, lost, longest_s * 1e3, written)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    if sys.platform != "linux":
        print("this benchmark pins and freezes processes as Linux does it, and needs Linux", file=sys.stderr)
        return 1
    plan = Plan(arguments.seconds, arguments.rate, arguments.slices, arguments.kind, arguments.writer_records)
    facts = {"command": command_of("observability.decision_log", argv), **environment(), "seed": SEED}
    began = time.monotonic()
    result = run(plan)
    facts["took_s"] = round(time.monotonic() - began, 1)
    print("\n".join(_lines(facts, plan, result)))
    write_json(arguments.json, _as_json(facts, plan, result))
    return 0 if result.holds else 1


def _start(name: str, folder: Path, provider_port: int, core: int, stack: ExitStack) -> _Gateway:
    """Start a gateway, wait until it answers, and freeze it until its turn to be measured."""
    own, port = folder / name.replace(" ", "-"), free_port()
    own.mkdir()
    config = write_config(own, port, provider_port, decisions={"keep": name == ON})
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(config)]
    process = Pinned(command, core, own / "serve.log", cwd=ROOT)
    stack.callback(process.end)
    process.wait_until_ready(f"http://127.0.0.1:{port}/readyz")
    process.freeze()
    return _Gateway(name, port, process, own)


@contextmanager
def _awake(process: Pinned) -> Iterator[None]:
    process.thaw()
    try:
        yield
    finally:
        process.freeze()


def _slice(runner: asyncio.Runner, gateway: _Gateway, load: PacedLoad, number: int) -> Slice:
    with _awake(gateway.process):
        settled = PacedLoad(load.requests, load.per_second, 0.5)  # lets a thawed process get back to its normal speed
        gateway.answered += len(runner.run(pace(gateway.port, settled)))
        used = gateway.process.cpu_seconds()
        latencies = runner.run(pace(gateway.port, load))
        used = gateway.process.cpu_seconds() - used
        queued = _metrics(gateway.port).get("loupe_decision_queue", math.nan)
        resident_mib = _resident_mib(gateway.process.pid)
    gateway.answered += len(latencies)
    return Slice(
        round=number,
        gateway=gateway.name,
        requests=len(latencies),
        p50_ms=percentile(latencies, 50) * 1e3,
        p99_ms=percentile(latencies, 99) * 1e3,
        longest_ms=max(latencies) * 1e3,
        cpu_us=used / len(latencies) * 1e6,
        resident_mib=resident_mib,
        queued=queued,
    )


def _differences(slices: Sequence[Slice]) -> tuple[Difference, ...]:
    """Return the differences, computed within each round, so that drift from round to round cancels out."""
    found = []
    for name in ("p50_ms", "p99_ms", "cpu_us"):
        on, off = ([getattr(each, name) for each in slices if each.gateway == gateway] for gateway in (ON, OFF))
        pairs = [a - b for a, b in zip(on, off, strict=True)]
        error = stdev(pairs) / math.sqrt(len(pairs)) if len(pairs) > 1 else math.nan
        found.append(Difference(name, median(on), median(off), mean(pairs), error))
    return tuple(found)


def _metrics(port: int) -> dict[str, float]:
    """Return the metrics of a gateway without labels, by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    plain = [line.split() for line in lines if not line.startswith("#") and "{" not in line]
    return {name: float(value) for name, value in plain}


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _lines(facts: Mapping[str, Any], plan: Plan, result: Result) -> list[str]:
    own = [each for each in result.slices if each.gateway == ON]
    written = result.written
    return [
        *(f"{name}: {value}" for name, value in facts.items()),
        f"{plan.rate:g} requests/s of {plan.kind} for {plan.seconds:g} s each, in {plan.slices} slices",
        "",
        f"{'':<8}{'log on':>10}{'log off':>10}{'difference':>12}{'+- 1.96 SE':>12}",
        *(
            f"{d.name:<8}{d.on:>10.3f}{d.off:>10.3f}{d.mean:>+12.3f}{1.96 * d.standard_error:>12.3f}"
            f"  {'within noise' if d.is_noise else 'beyond noise'}"
            for d in result.differences
        ),
        f"p99 of slices, ms: log on {_spread(result.slices, ON)}, log off {_spread(result.slices, OFF)}",
        f"resident, MiB: {own[0].resident_mib:.1f} after the first slice, {own[-1].resident_mib:.1f} after the last",
        f"queue after a slice: {max(each.queued for each in own):g} at most; lost: {result.lost:g}",
        f"rows {result.rows:,} of {result.answered:,} answers; longest group {result.longest_write_ms:.1f} ms",
        f"on the loop: {written.observe_us:.2f} us a record",
        f"writer: {written.records:,} records, each of a new query, at {written.per_second:,.0f}/s, "
        f"{written.cpu_us:.1f} us of processor time and {written.bytes_each:,.0f} bytes each; lost: {written.lost}",
    ]


def _spread(slices: Sequence[Slice], gateway: str) -> str:
    found = sorted(each.p99_ms for each in slices if each.gateway == gateway)
    return f"{found[0]:.2f} to {found[-1]:.2f}"


def _as_json(facts: Mapping[str, Any], plan: Plan, result: Result) -> dict[str, Any]:
    return {
        **facts,
        "plan": asdict(plan),
        **asdict(result),
        "differences": [{**asdict(each), "is_noise": each.is_noise} for each in result.differences],
        "holds": result.holds,
    }


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.observability.decision_log", description=(__doc__ or "").splitlines()[0]
    )
    standard = Plan()
    parser.add_argument("--seconds", type=float, default=standard.seconds, help="under load, for each gateway")
    parser.add_argument("--rate", type=float, default=standard.rate, help="requests a second")
    parser.add_argument("--slices", type=int, default=standard.slices, help="turns of each gateway")
    parser.add_argument("--kind", choices=("text", "image", "stream"), default=standard.kind)
    parser.add_argument("--writer-records", type=int, default=standard.writer_records)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
