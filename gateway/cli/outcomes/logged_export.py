"""`loupe table export --store FILE`: the decisions and labels of gateways, as an outcome table."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path

from gateway.cli.arguments import seconds
from gateway.errors import ConfigError, StoreError
from gateway.outcomes.log.cells import Range
from gateway.outcomes.log.export import Wanted, read_logs, summary
from routers.table.formats import format_for, write_table

CSV = "outcomes.csv"
"""MMR-Bench's form of the table, beside the Parquet files."""


def add_log_arguments(parser: argparse.ArgumentParser) -> None:
    log = parser.add_argument_group("decisions of a gateway")
    add = log.add_argument
    add("--store", type=Path, nargs="+", metavar="FILE", help="its store.path; one of each machine")
    add("--since", type=past, metavar="WHEN", help="2027-01-31T00:00:00Z, or 7d ago; by default all")
    add("--until", type=past, metavar="WHEN", help="by default until now")
    add("--tenant", metavar="NAME")
    add("--label-source", action="append", metavar="NAME", help="take its labels alone; of several, the first has it")
    add("--all", action="store_true", help="also decisions without a label: tokens, cost and latency")
    add("--no-embeddings", action="store_true", help="no vectors, and also decisions that have none")


def export_logs(arguments: argparse.Namespace) -> None:
    """Into a folder: Parquet, `outcomes.csv`, and the images that were kept. Raises ConfigError."""
    wanted = Wanted(
        Range(arguments.since or 0.0, arguments.until, arguments.tenant),
        tuple(arguments.label_source or ()),
        all=arguments.all,
        embedded=not arguments.no_embeddings,
    )
    out, format = arguments.out, arguments.format or format_for(arguments.out)
    folder = out if format == "parquet" else out.parent
    try:
        logged = read_logs(arguments.store, wanted, folder)
    except StoreError as error:
        raise ConfigError(str(error)) from None
    table = logged.table
    if not len(table):
        what = "\n".join(["no decision to export", *summary(logged.counts)])
        raise ConfigError(what)
    write_table(table, out, format, logged.embedded)
    if format == "parquet":
        write_table(table, out / CSV, "mmr")
    print(
        f"wrote {out}: {len(table):,} decisions, {len(table.candidates)} candidates, {int(table.mask.sum()):,} scores"
    )
    print("\n".join(summary(logged.counts)))


def past(words: str) -> float:
    """Seconds since the epoch of an ISO time (UTC unless it says otherwise), or of so long ago (`7d`)."""
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        return time.time() - seconds(words)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
