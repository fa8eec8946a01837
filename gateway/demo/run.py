"""The demo, top to bottom: draw, simulate, start, drive, stop, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.demo.driver import drive
from gateway.demo.ledger import pool_bill, read_ledger, read_pool_log
from gateway.demo.plan import Outcome, plan_requests
from gateway.demo.report import DemoReport, build_report
from gateway.demo.services import HOST, DemoTenant, demo_tenants, free_port, running, write_config
from gateway.providers.replay.candidates import CANDIDATES
from gateway.providers.replay.drawn_table import simulate, write_table
from gateway.providers.replay.tasks import Task, draw_tasks


def run_demo(folder: Path, *, requests: int, seed: int, say: Callable[[str], None]) -> DemoReport:
    """Run the demo; all files are written into `folder`. Raises ServiceError if the pool or the
    gateway does not run.
    """
    say(f"drawing {requests} charts, receipts, tables, figures and things to count")
    table = simulate(draw_tasks(requests, seed), CANDIDATES, seed)
    path = write_table(table, folder)
    tenants = demo_tenants()
    pool_port = free_port()
    say(f"starting the simulated pool of {len(CANDIDATES)} candidates")
    pool = ["replay", "--table", str(path), "--host", HOST, "--port", str(pool_port)]
    with running("loupe replay", pool, pool_port, "/v1/models", folder / "replay.log"):
        outcomes = _drive(folder, table.tasks, tenants, pool_port, say)
        log = read_pool_log(pool_port)
    return build_report(table, outcomes, read_ledger(folder / "loupe.sqlite"), pool_bill(log, CANDIDATES))


def _drive(
    folder: Path, tasks: Sequence[Task], tenants: Sequence[DemoTenant], pool_port: int, say: Callable[[str], None]
) -> list[Outcome]:
    """Send all requests. When this returns, the gateway has stopped, so that every charge is on disk."""
    port = free_port()
    config = write_config(folder, pool_port, port, CANDIDATES, tenants)
    say("starting the gateway: SQLite, bundled encoder, bundled router")
    with running("loupe serve", ["serve", "--config", str(config)], port, "/readyz", folder / "gateway.log"):
        say(f"sending {len(tasks)} requests with the openai client, half of them streamed")
        return drive(f"http://{HOST}:{port}/v1", plan_requests(tasks, tenants))
