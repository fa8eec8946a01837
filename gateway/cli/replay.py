"""`loupe replay`: serve a simulated candidate pool that replays outcome tables."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from gateway.errors import ConfigError
from gateway.providers.replay import Faults, ReplayApp, ReplayTable, listen, read_table, run_server
from gateway.providers.replay.candidates import CANDIDATES
from gateway.providers.replay.drawn_table import simulate, write_table
from gateway.providers.replay.tasks import draw_tasks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the table, where to listen, and the faults."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--table", type=Path, action="append", metavar="CSV", help="may be repeated")
    source.add_argument("--drawn", type=int, metavar="N", help="so many of the demo's drawn tasks in place of a table")
    parser.add_argument("--images", type=Path, metavar="DIR", help="where img_path starts (default: beside the table)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0: any free one, which is printed")
    parser.add_argument(
        "--unknown",
        choices=("refuse", "answer"),
        default="refuse",
        help="a query that the table does not hold: 400 unknown_query, or a default answer",
    )
    parser.add_argument("--chunk-tokens", type=int, default=16, metavar="N", help="tokens in a chunk of a stream")
    faults = parser.add_argument_group("delays and faults")
    faults.add_argument("--latency-ms", type=float, default=0.0, help="how long a reply takes, after its first byte")
    faults.add_argument("--first-byte-ms", type=float, default=0.0, help="how long before the first byte")
    faults.add_argument("--fail-rate", type=float, default=0.0, help="share answered --fail-status")
    faults.add_argument("--fail-status", type=int, default=500)
    faults.add_argument("--break-rate", type=float, default=0.0, help="share of replies that break off midway")
    faults.add_argument("--no-usage-rate", type=float, default=0.0, help="share of replies without usage")
    faults.add_argument("--only", action="append", default=[], metavar="CANDIDATE", help="limit the faults to it")
    faults.add_argument("--seed", type=int, default=0)


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    faults = Faults(
        latency_s=arguments.latency_ms / 1000,
        first_byte_s=arguments.first_byte_ms / 1000,
        fail_rate=arguments.fail_rate,
        fail_status=arguments.fail_status,
        break_rate=arguments.break_rate,
        no_usage_rate=arguments.no_usage_rate,
        only=frozenset(arguments.only),
    )
    if arguments.drawn is None:
        table = read_table(arguments.table, arguments.images)
    else:
        table = _drawn(arguments.drawn, arguments.seed)
    app = ReplayApp(
        table,
        faults=faults,
        unknown=arguments.unknown,
        chunk_tokens=arguments.chunk_tokens,
        seed=arguments.seed,
    )
    listener = listen(arguments.host, arguments.port)
    print(
        f"loupe replay: {len(table.queries)} queries x {len(table.candidates)} simulated candidates "
        f"(no model is behind them) on http://{arguments.host}:{listener.getsockname()[1]}/v1",
        flush=True,
    )
    run_server(app, listener)
    return 0


def _drawn(count: int, seed: int) -> ReplayTable:
    """Return tasks and outcomes like `loupe demo` uses. Raises ConfigError."""
    if count < 1:
        raise ConfigError(f"--drawn: {count} is not 1 or more")
    with tempfile.TemporaryDirectory() as folder:
        return read_table([write_table(simulate(draw_tasks(count, seed), CANDIDATES, seed), Path(folder))])
