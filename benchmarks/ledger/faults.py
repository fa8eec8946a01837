"""Check the ledger's money when a process is killed, stops or sleeps, or the disk is full: every fault, many times.

    python -m benchmarks.ledger.faults [--stores sqlite redis "redis, leases"] [--faults NAME ...] [--runs 30] [--json
        FILE]

Two gateway processes share one ledger. Each run has its own tenant, with a budget for exactly 24 requests. Some
requests are answered; four requests together are brought to the point that the fault names (a scripted provider tells
when they are there); then the fault happens. More requests are sent while the fault lasts. When the fault is over and
no reservation is left, requests are sent until the budget refuses. When all gateways have ended, both money laws are
checked against the ledger itself. First, at most the budget was spent, and reserved money is back to zero. Second, all
that the provider completed was paid. The exit status is 1 when a law does not hold. `redis, leases` is Redis with
gateways that continue without Redis, within the amounts that they set aside.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common.result import bullets, circumstances, deliver
from benchmarks.ledger.fault_points import FAULTS, Run
from benchmarks.ledger.fault_rig import CAP, COST, PAYABLE, SET_ASIDE, Rig, rig_on, tenant_named, until
from gateway.billing.window import Window
from gateway.stores.redis.budgets import RedisSettings, RedisStore
from gateway.stores.sqlite.budgets import SqliteStore
from tests.e2e.harness.scripted_provider import ScriptedProvider, scripted_provider
from tests.e2e.harness.scripts import answer

STORES = ("sqlite", "redis", "redis, leases")
PACKAGES = ("loupe", "redis", "uvloop")
BEFORE = 4


@dataclass(frozen=True, slots=True)
class Row:
    """The results of one fault on one store over its runs. Money is in nanodollars.

    Attributes:
        overspend_max: the most that a run spent over its budget.
        holds_after: the sum over runs of the money that was still reserved in the end.
        unpaid_max: the most in a run that the provider completed and that was not charged.
        unused_max: the most that a budget still had when it refused (with leases, money that is set aside is out of
            reach).
        answered, refused, unavailable, errors: the numbers of replies with status 200, 429, 503, and with any other
            status or without a reply (except requests in flight in a killed gateway).
        served_s, freed_s: seconds after the fault until each living gateway answered, and until no money was reserved:
            the median and the greatest.
    """

    fault: str
    store: str
    runs: int
    overspend_max: int
    holds_after: int
    unpaid_max: int
    unused_max: int
    answered: int
    refused: int
    unavailable: int
    errors: int
    served_s: tuple[float, float]
    freed_s: tuple[float, float]

    @property
    def laws_hold(self) -> bool:
        return not (self.overspend_max or self.holds_after or self.unpaid_max)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the faults, print, and write the results if asked. Returns 1 when a law does not hold."""
    arguments = _arguments(argv)
    rows: list[Row] = []
    began = time.monotonic()
    for store in arguments.stores:
        faults = [name for name in FAULTS if name in arguments.faults and _concerns(name, store)]
        rows += _on(store, faults, arguments.runs) if faults else []
    right = all(row.laws_hold for row in rows)
    result: dict[str, Any] = {
        **circumstances("ledger.faults", argv, PACKAGES),
        "seeds": [],
        "runs": arguments.runs,
        "seconds": round(time.monotonic() - began, 1),
        "rows": [{**asdict(row), "laws_hold": row.laws_hold} for row in rows],
        "laws_hold": right,
    }
    deliver(arguments, result, "faults", _text(result, rows))
    return 0 if right else 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger.faults", description=__doc__)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS), metavar="NAME")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path, help="a page whose part on this is renewed")
    return parser.parse_args(argv)


def _concerns(fault: str, store: str) -> bool:
    """Return whether a store can have this fault."""
    if fault.startswith("Redis"):
        return store != "sqlite"
    return store != "redis, leases"


def _on(store: str, faults: Sequence[str], runs: int) -> list[Row]:
    """Run every fault on one store, with the same two gateways, which are restarted when they are killed."""
    done: dict[str, list[Run]] = {name: [] for name in faults}
    with tempfile.TemporaryDirectory(prefix="loupe-faults-") as folder, ExitStack() as stack:
        provider: ScriptedProvider = stack.enter_context(scripted_provider(answer()))
        rig = stack.enter_context(rig_on(store, Path(folder) / "rig", len(faults) * runs, provider))
        for number, fault in enumerate(name for name in faults for _ in range(runs)):
            done[fault].append(Run(tenant_named(number)))
            _run(rig, fault, done[fault][-1])
            print(f"{store}: {fault}: {len(done[fault])} of {runs}", file=sys.stderr)
        rig.end()
        asyncio.run(_audit(rig, [run for each in done.values() for run in each]))
    return [_row(fault, store, each) for fault, each in done.items()]


def _run(rig: Rig, fault: str, run: Run) -> None:
    """Run one fault, then wait until the gateways serve again, and use up the budget."""
    set_aside = SET_ASIDE * len(rig.ports) if rig.store.endswith("leases") else 0
    rig.provider.forget()
    for number in range(BEFORE):
        until(partial(_is_answered, rig, run, number % 2, (200,)))  # on a busy machine, Redis may answer too late
    until(lambda: _held(rig, run.tenant) == set_aside)
    FAULTS[fault](rig, run)
    since = time.monotonic()
    for number, gateway in enumerate(rig.gateways):
        if gateway.is_alive:
            until(partial(_is_answered, rig, run, number, (200, 429)))
    run.served_s = time.monotonic() - since
    until(lambda: _held(rig, run.tenant) == set_aside)
    run.freed_s = time.monotonic() - since
    for _ in range(PAYABLE):
        run.ask(rig, 1)
    for number, gateway in enumerate(rig.gateways):
        if not gateway.is_alive:
            rig.start(number)


def _is_answered(rig: Rig, run: Run, number: int, statuses: Sequence[int]) -> bool:
    """Send a request to a gateway. Returns whether the reply has one of these statuses."""
    return run.ask(rig, number) in statuses


def _held(rig: Rig, tenant: str) -> int:
    """Return the reserved nanodollars of a tenant; more than its budget when the gateway cannot tell."""
    with suppress(OSError):
        return rig.window(1, tenant)[1]
    return CAP + 1


async def _audit(rig: Rig, runs: Sequence[Run]) -> None:
    """Read each run's balance from the ledger itself, after all gateways have ended."""
    path = rig.disk.folder / "loupe.sqlite"
    store = RedisStore(RedisSettings(rig.redis.url, 5.0), time.time) if rig.redis else SqliteStore(path, time.time)
    await store.open()
    balances = await store.balances([Window(f"{run.tenant}/total", CAP, 0.0, None) for run in runs])
    await store.close()
    for run, balance in zip(runs, balances, strict=True):
        run.spent, run.held = balance.spent, balance.held


def _row(fault: str, store: str, runs: Sequence[Run]) -> Row:
    replies = {status: sum(run.statuses[status] for run in runs) for status in (200, 429, 503)}
    return Row(
        fault,
        store,
        len(runs),
        overspend_max=max(max(run.spent - CAP for run in runs), 0),
        holds_after=sum(run.held for run in runs),
        unpaid_max=max(max((run.statuses[200] + run.owed) * COST - run.spent for run in runs), 0),
        unused_max=max(max(CAP - run.spent for run in runs), 0),
        answered=replies[200],
        refused=replies[429],
        unavailable=replies[503],
        errors=sum(run.statuses.total() for run in runs) - sum(replies.values()),
        served_s=(median(run.served_s for run in runs), max(run.served_s for run in runs)),
        freed_s=(median(run.freed_s for run in runs), max(run.freed_s for run in runs)),
    )


def _text(result: Mapping[str, Any], rows: Sequence[Row]) -> str:
    lines = bullets(result, ("command", "versions", "cores", "runs", "seconds"))
    heads = ("fault", "store", "runs", "overspend, requests", "held after", "unpaid", "unused", "200", "429", "503")
    heads += ("errors", "served again after s", "holds at zero after s")
    lines += ["", f"| {' | '.join(heads)} |", "|---|---|" + "--:|" * (len(heads) - 2)]
    for row in rows:
        money = (row.overspend_max, row.holds_after, row.unpaid_max, row.unused_max)
        cells = [row.fault, row.store, row.runs, *(f"{each / COST:g}" for each in money)]
        cells += [row.answered, row.refused, row.unavailable, row.errors]
        cells += [f"{middle:.2f} (most {most:.2f})" for middle, most in (row.served_s, row.freed_s)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += [
        "",
        f"Money in requests of ${COST / 1e9:g}; the budget of each run pays for {PAYABLE}. Seconds: the median.",
    ]
    return "\n".join([*lines, "Both laws hold." if result["laws_hold"] else "THE LAWS DO NOT HOLD."])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that processes are ended and the disk is unmounted
    sys.exit(main())
