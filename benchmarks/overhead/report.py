"""The tables of the overhead benchmark: medians over rounds, and the spread of rounds, from the measured cells."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.overhead.gateway import Check

PACKAGES = ("uvicorn", "uvloop", "httptools", "aiohttp", "msgspec", "starlette", "fastapi", "httpx", "onnxruntime")
BASELINE, GATEWAY, COMPILED, PEER = "direct", "loupe", "loupe_compiled", "fastapi_httpx"
GATEWAYS = (GATEWAY, COMPILED)
SUBJECTS = (BASELINE, *GATEWAYS, PEER)


@dataclass(frozen=True, slots=True)
class Cell:
    """One subject under one load in one round.

    `cpu_us` is the gateway's processor time per request, and `others_share` the part of the gateway's core that other
    processes took meanwhile, which shows whether a run was noisy. Both are None without a gateway.
    """

    round: int
    subject: str
    kind: str
    connections: int
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    first_byte_p50_ms: float
    cpu_us: float | None
    others_share: float | None


@dataclass(frozen=True, slots=True)
class Spread:
    """The median over the rounds, and their least and greatest."""

    median: float
    least: float
    greatest: float

    def shown(self, digits: int) -> str:
        return f"{self.median:,.{digits}f} [{self.least:,.{digits}f}..{self.greatest:,.{digits}f}]"


@dataclass(frozen=True, slots=True)
class Row:
    """The results of one subject with one kind at one concurrency.

    `added_*` is the difference to `direct`. `times_peer` is the subject's requests/s divided by those of
    `fastapi_httpx`, and `times_peer_cpu` is the processor time per request of `fastapi_httpx` divided by the subject's.
    All are computed within a round and then summarised over the rounds; None where there is no such pair.
    """

    kind: str
    connections: int
    subject: str
    requests: int
    per_second: Spread
    p50_ms: Spread
    p99_ms: Spread
    added_p50_ms: Spread | None
    added_p99_ms: Spread | None
    added_first_byte_ms: Spread | None
    times_peer: Spread | None
    times_peer_cpu: Spread | None
    cpu_us: Spread | None
    others_share: float | None


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of a sequence that is not empty."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def summarise(cells: Sequence[Cell]) -> list[Row]:
    """Return one row per kind, concurrency and subject: kinds as they first appear, subjects as in `SUBJECTS`."""
    at = {(c.kind, c.connections, c.subject, c.round): c for c in cells}
    kinds = list(dict.fromkeys((c.kind, c.connections) for c in cells))
    subjects = [s for s in SUBJECTS if any(c.subject == s for c in cells)]
    rounds = sorted({c.round for c in cells})
    return [
        _row([at[*kind, subject, r] for r in rounds], [_others(at, *kind, r) for r in rounds])
        for kind in kinds
        for subject in subjects
    ]


def markdown(facts: Mapping[str, Any], rows: Sequence[Row], checks: Sequence[Check]) -> str:
    """Return the report: the facts about the run, the table, and the audit."""
    lines = [f"* {name}: {value}" for name, value in facts.items()]
    lines += [
        "",
        f"| load | c | subject | requests/s | x {PEER} | added p50 ms | added p99 ms | CPU us/request | x less CPU |",
    ]
    lines.append("|---|--:|---|--:|--:|--:|--:|--:|--:|")
    lines += [_line(row) for row in rows]
    noisy = [row.others_share for row in rows if row.others_share is not None]
    lines += ["", "Median over the rounds [least..greatest]; `direct` shows its own p50 and p99, not what is added."]
    if noisy:
        most = f"{max(noisy):.0%}"
        lines.append(f"Other processes took up to {most} of the gateway's core (a row's median over its rounds);")
        lines.append("what a hypervisor takes is not seen.")
    lines += ["", "Audit of the same run:", ""] if checks else []
    for check in checks:
        verdict = "agrees" if check.holds else f"**DISAGREES**, {check.expected} expected"
        lines.append(f"* {check.name}: {check.found} ({verdict})")
    return "\n".join(lines) + "\n"


def environment() -> dict[str, Any]:
    """Return the facts that the numbers depend on: interpreter, packages, processor, load of the machine."""
    return {
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "cpu": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        "load average before": round(os.getloadavg()[0], 2),
    }


def _row(own: Sequence[Cell], others: Sequence[Mapping[str, Cell]]) -> Row:
    first = own[0]

    def over(name: str, compare: Callable[[Cell, Cell], float]) -> Spread | None:
        if first.subject == name:
            return None
        pairs = [(cell, other[name]) for cell, other in zip(own, others, strict=True) if name in other]
        return _spread([compare(cell, other) for cell, other in pairs]) if pairs else None

    shares = [cell.others_share for cell in own if cell.others_share is not None]
    cpu = [cell.cpu_us for cell in own if cell.cpu_us is not None]
    return Row(
        kind=first.kind,
        connections=first.connections,
        subject=first.subject,
        requests=sum(cell.requests for cell in own),
        per_second=_spread([cell.per_second for cell in own]),
        p50_ms=_spread([cell.p50_ms for cell in own]),
        p99_ms=_spread([cell.p99_ms for cell in own]),
        added_p50_ms=over(BASELINE, lambda cell, other: cell.p50_ms - other.p50_ms),
        added_p99_ms=over(BASELINE, lambda cell, other: cell.p99_ms - other.p99_ms),
        added_first_byte_ms=over(BASELINE, lambda cell, other: cell.first_byte_p50_ms - other.first_byte_p50_ms),
        times_peer=over(PEER, lambda cell, other: cell.per_second / other.per_second),
        times_peer_cpu=over(PEER, lambda cell, other: (other.cpu_us or 0.0) / (cell.cpu_us or 1.0)) if cpu else None,
        cpu_us=_spread(cpu) if cpu else None,
        others_share=median(shares) if shares else None,
    )


def _others(at: Mapping[tuple[str, int, str, int], Cell], kind: str, connections: int, r: int) -> dict[str, Cell]:
    found = {name: at.get((kind, connections, name, r)) for name in (BASELINE, PEER)}
    return {name: cell for name, cell in found.items() if cell is not None}


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def _line(row: Row) -> str:
    if row.subject == BASELINE:
        p50, p99 = f"({row.p50_ms.shown(2)})", f"({row.p99_ms.shown(2)})"
    else:
        p50, p99 = _shown(row.added_p50_ms, 2), _shown(row.added_p99_ms, 2)
    ours = row.subject in GATEWAYS
    times = _shown(row.times_peer, 1) if ours else ""
    less = _shown(row.times_peer_cpu, 1) if ours else ""
    numbers = (row.per_second.shown(0), times, p50, p99, _shown(row.cpu_us, 0), less)
    return f"| {row.kind} | {row.connections} | {row.subject} | " + " | ".join(numbers) + " |"


def _shown(spread: Spread | None, digits: int) -> str:
    return "" if spread is None else spread.shown(digits)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
