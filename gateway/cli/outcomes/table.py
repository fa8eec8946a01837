"""`loupe table`: import, export, merge and show outcome tables."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gateway.cli.arguments import seconds
from gateway.errors import ConfigError, StoreError
from gateway.outcomes.datasets import embed, load_encoder, with_image_facts
from gateway.outcomes.log.cells import Range
from gateway.outcomes.log.export import ExportFilter, read_logs, summary
from gateway.outcomes.table_prices import read_prices
from routers.table.costs import priced
from routers.table.formats import FORMATS, WRITTEN, format_for, format_of, read_table, write_table
from routers.table.grouping import KEYS, joined_groups
from routers.table.outcome_table import OutcomeTable, TableError, merge
from routers.table.parquet import TableVectors, read_embedded
from routers.table.summary import Overview, overview

CSV = "outcomes.csv"
"""The table in MMR-Bench's form, in the same folder as the Parquet files."""

SOURCES = "an MMR-Bench CSV, a RouterBench CSV or Parquet file, or a folder that `loupe table import` wrote"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the four actions, and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    added = actions.add_parser("import", help="read a table into a folder of Parquet files")
    added.add_argument("source", type=Path, help=SOURCES)
    added.add_argument("--out", type=Path, required=True, metavar="DIR")
    added.add_argument("--format", choices=FORMATS, help="of the source; by default what it looks like")
    added.add_argument("--group-by", type=_keys, metavar="KEYS", help=f"join groups by any of {','.join(KEYS)}")
    added.add_argument("--origin", metavar="NAME", help="where its cells come from, for those that do not say")
    added.add_argument("--encoder", metavar="NAME", help="embed the queries with it, and keep that in the folder")
    added.add_argument("--embeddings", type=Path, metavar="NPZ", help="with --encoder: start from these vectors")
    _add_reading(added)
    added.set_defaults(act=_import)
    exported = actions.add_parser("export", help="write a table, or the log of a gateway's decisions, as a table")
    exported.add_argument("source", type=Path, nargs="?", help=SOURCES)
    exported.add_argument("--out", type=Path, required=True, metavar="PATH")
    add_log_arguments(exported)
    exported.add_argument("--format", choices=WRITTEN, help="by default as --out ends: mmr for .csv, else parquet")
    _add_reading(exported)
    exported.set_defaults(act=_export)
    merged = actions.add_parser("merge", help="join tables; what none of them observed is missing")
    merged.add_argument("sources", type=Path, nargs="+", metavar="source", help=SOURCES)
    merged.add_argument("--out", type=Path, required=True, metavar="PATH")
    merged.add_argument("--format", choices=WRITTEN, help="by default as --out ends")
    _add_reading(merged)
    merged.set_defaults(act=_merge)
    shown = actions.add_parser("show", help="print what a table holds")
    shown.add_argument("source", type=Path, help=SOURCES)
    shown.add_argument("--json", type=Path, metavar="FILE", help="write it there as well")
    _add_reading(shown)
    shown.set_defaults(act=_show)


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action. Raises ConfigError, which says which file, row, column and value is at fault."""
    act: Callable[[argparse.Namespace], None] = arguments.act
    try:
        act(arguments)
    except TableError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{error.filename or arguments.action}: {error.strerror or error}") from error
    return 0


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, metavar="DIR", help="where image paths start; by default beside it")
    parser.add_argument("--prices", type=Path, metavar="FILE", help="compute every cost from these prices and tokens")
    parser.add_argument("--input-tokens", type=_tokens, metavar="N", help="with --prices: where a cell says none")


def _import(arguments: argparse.Namespace) -> None:
    if arguments.embeddings is not None and arguments.encoder is None:
        raise ConfigError("--embeddings says which vectors to start from, and --encoder, whose they are, is missing")
    table, missing = with_image_facts(_read(arguments, arguments.source, arguments.format), _say_images)
    if missing:
        print(f"loupe table: {missing} image(s) are not there: no hash, no size (--images?)", file=sys.stderr)
    if arguments.group_by:
        table = replace(table, groups=joined_groups(table, by=arguments.group_by))
    if arguments.origin is not None:
        said = np.full(table.score.shape, "") if table.source is None else table.source
        table = replace(table, source=np.where(table.mask & (said == ""), arguments.origin, said))
    _write(table, arguments.out, "parquet", _embedded(table, arguments))


def _export(arguments: argparse.Namespace) -> None:
    if (arguments.source is None) == (arguments.store is None):
        raise ConfigError("export takes a table, or --store and the store of a gateway")
    if arguments.store is not None:
        export_logs(arguments)
        return
    table = _read(arguments, arguments.source, None)
    format = arguments.format or format_for(arguments.out)
    is_folder = format_of(arguments.source) == "parquet"
    _write(table, arguments.out, format, read_embedded(arguments.source) if is_folder else None)


def _merge(arguments: argparse.Namespace) -> None:
    table = merge([_read(arguments, source, None) for source in arguments.sources])
    _write(table, arguments.out, arguments.format or format_for(arguments.out))


def _show(arguments: argparse.Namespace) -> None:
    table = _read(arguments, arguments.source, None)
    found = overview(table)
    print("\n".join(_lines(found, table)))
    if arguments.json is not None:
        shown = {"digest": table.digest, "notes": dict(table.notes), **asdict(found)}
        text = json.dumps(_finite(shown), indent=2, allow_nan=False)
        arguments.json.write_text(text + "\n", encoding="utf-8")


def _read(arguments: argparse.Namespace, source: Path, format: str | None) -> OutcomeTable:
    table = read_table(source, arguments.images, format)
    if arguments.prices is None:
        if arguments.input_tokens is not None:
            raise ConfigError("--input-tokens is used with --prices, and that is missing")
        return table
    prices = read_prices(arguments.prices)
    return priced(table, prices.prices, prices.version, input_tokens=arguments.input_tokens)


def _embedded(table: OutcomeTable, arguments: argparse.Namespace) -> TableVectors | None:
    if arguments.encoder is None:
        return None
    encoder = load_encoder(arguments.encoder)
    return TableVectors(encoder.digest, embed(table, encoder, arguments.embeddings))


def _write(table: OutcomeTable, path: Path, format: str, embedded: TableVectors | None = None) -> None:
    write_table(table, path, format, embedded)
    print(f"wrote {path}: {len(table):,} queries, {len(table.candidates)} candidates, {int(table.mask.sum()):,} cells")
    if table.notes and format != "parquet":
        print(f"loupe table: {path} has no place for notes", file=sys.stderr)


def _lines(found: Overview, table: OutcomeTable) -> list[str]:
    text_only = found.queries - found.with_image
    width = max((len(one.name) for one in found.candidates), default=0) + 2
    lines = [
        f"{found.queries:,} queries ({found.with_image:,} with an image, {text_only:,} text only), "
        f"{found.questions:,} distinct questions, {found.images:,} distinct images",
        f"{found.groups:,} groups, the largest of {found.largest_group:,}",
        f"{len(found.candidates)} candidates, {found.cells:,} cells observed of "
        f"{found.queries * len(found.candidates):,}",
        f"holds {', '.join(found.arrays)}" + (f"; details {', '.join(table.details)}" if table.details else ""),
        *(f"{name}: {text}" for name, text in table.notes.items()),
        f"digest {table.digest}",
        "",
        f"{'candidate':<{width}}{'cells':>10}{'coverage':>10}{'score':>9}{'cost, USD':>13}{'tokens out':>12}",
    ]
    for one in found.candidates:
        lines.append(
            f"{one.name:<{width}}{one.cells:>10,}{one.coverage:>10.1%}{_number(one.score, '.4f'):>9}"
            f"{_number(one.cost_usd, '.3e'):>13}{_number(one.output_tokens, '.1f'):>12}"
        )
    if found.best is not None:
        lines += ["", f"best single: {found.best}; best of each query (oracle): {found.oracle:.4f}"]
    if not (table.mask == table.mask[:, :1]).all():
        lines.append("Not every candidate was observed on the same queries: their means are of different things.")
    return lines


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


def _finite(value: Any) -> Any:
    """Replace NaN and infinity by None, because JSON cannot express them."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _say_images(done: int, total: int) -> None:
    if done == total or (sys.stderr.isatty() and not done % 100):
        print(f"\rreading images: {done} of {total}", end="\n" if done == total else "", file=sys.stderr)


def _keys(text: str) -> list[str]:
    keys = text.split(",")
    unknown = [key for key in keys if key not in KEYS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(KEYS)}")
    return keys


def _tokens(text: str) -> float:
    try:
        tokens = float(text)
    except ValueError:
        tokens = -1.0
    if not (math.isfinite(tokens) and tokens >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of tokens")
    return tokens


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
    """Write decision logs into a folder: Parquet, `outcomes.csv`, and the kept images. Raises ConfigError."""
    wanted = ExportFilter(
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
    """Return the seconds since the epoch of an ISO time (UTC unless it says otherwise), or of a duration ago (`7d`)."""
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        return time.time() - seconds(words)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
