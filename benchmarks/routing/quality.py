"""Measure how well every router forecasts and routes on held-out queries, for the tables of `benchmarks/README.md`.

    python -m benchmarks.routing.quality [--table CSV ...] [--routers all|A,B] [--seeds N] [--json FILE]
        [--markdown benchmarks/README.md]
    python -m benchmarks.routing.quality --table DynaMath.csv --table BlindTest.csv --rebuild-offline DIR

Without `--table`, routers are judged on the bundled tables in numbers, which `--rebuild-offline` writes again from the
CSV files and the encoder. Every table is split by groups, 20% to learn from. One fit gives the figures of both
protocols. Besides the main table, there are tables of the value of each view, of learning from one table for another,
and of withheld images.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.marked_section import renew
from benchmarks.common.result import command_of, write_json
from gateway.cli.routers.bench import MEASURES, BenchInput, choose_routers, read_given, teller
from routers.evaluation.bench import BenchBlock, JudgeSettings, Task, across, tasks, within
from routers.evaluation.reports.text import Row, as_json, as_markdown, rows
from routers.evaluation.reports.versions import in_words, package_versions
from routers.evaluation.workers import run_tasks
from routers.registry import ALGORITHMS, DEFAULT
from routers.table.numeric import BUNDLED, Offline, load_offline, save_offline
from routers.table.outcome_table import Dataset, TableError

SIDE = (DEFAULT, "linear_mf", "kmeans", "kmeans_adaptive", "shrunken_knn", "extra_trees")
"""The routers of the tables besides the main table, if the registry has them; they are judged on fewer seeds."""
SIDE_SEEDS, CROSSING_SEEDS = 2, 1


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the report: the blocks and routers that are run, and the protocols and views that are shown."""

    title: str
    blocks: tuple[BenchBlock, ...]
    routers: tuple[str, ...]
    views: tuple[str, ...] = ("both",)
    protocols: tuple[str, ...] = ("shared",)


def main(argv: Sequence[str] | None = None) -> int:
    """Judge, print, and write the results if asked. Returns 1 when a router failed."""
    arguments = _arguments(argv)
    if arguments.rebuild_offline is not None:
        return _rebuild(arguments)
    started = time.monotonic()
    given = read_given(arguments.table, arguments) if arguments.table else _bundled()
    sections = list(_sections(given.datasets, arguments))
    found = [(section, _run(section, arguments)) for section in sections]
    facts = _facts(arguments, given, time.monotonic() - started)
    text = as_report(facts, found)
    print(text)
    if arguments.markdown is not None:
        renew(arguments.markdown, "routing quality", text)
    if arguments.json is not None:
        results = [
            row | {"protocol": own.protocol, "section": section.title}
            for section, of_section in found
            for own, row in zip(of_section, as_json(of_section), strict=True)
        ]
        write_json(arguments.json, facts | {"results": results})
    return 1 if any(row.problem for _, of_section in found for row in of_section) else 0


def as_report(facts: Mapping[str, Any], found: Sequence[tuple[Section, Sequence[Row]]]) -> str:
    """Return Markdown: the facts about the run, then each section's tables."""
    parts = ["\n".join(f"* {name}: {value}" for name, value in facts.items())]
    for section, of_section in found:
        seeds = ", ".join(str(split.seed) for split in section.blocks[0].splits)
        parts.append(f"### {section.title} (seeds {seeds})")
        for protocol in section.protocols:
            shown = [row for row in of_section if row.protocol == protocol]
            for block in section.blocks:
                learned = (
                    "" if block.learned_from == (block.name,) else f", learned from {', '.join(block.learned_from)}"
                )
                parts += [f"**{block.name}**{learned} ({protocol} protocol)", as_markdown(shown, block.name)]
    parts.append("nAUC: mean over seeds and [95% interval of it, bootstrap over groups]; ± is the spread over seeds.")
    return "\n\n".join(parts) + "\n"


def _sections(datasets: Sequence[Dataset], arguments: argparse.Namespace) -> Iterator[Section]:
    chosen = choose_routers(arguments.routers)
    side = tuple(name for name in dict.fromkeys(SIDE) if name in chosen)
    whole = tuple(within(data, arguments.train, range(arguments.seeds)) for data in datasets)
    yield Section("Every router on both views", whole, chosen, protocols=("shared", "paper"))
    seeds = range(min(arguments.seeds, SIDE_SEEDS))
    fewer = tuple(within(data, arguments.train, seeds) for data in datasets)
    yield Section("What each view is worth", fewer, side, views=("both", "text", "image"))
    blind = tuple(within(data, arguments.train, seeds, text_only=True) for data in datasets)
    yield Section("Images withheld from the test rows, not from training", blind, side)
    crossings = tuple(_crossings(datasets, range(min(arguments.seeds, CROSSING_SEEDS))))
    if crossings:
        yield Section("Learned from another table (among the candidates that both know)", crossings, side)


def _crossings(datasets: Sequence[Dataset], seeds: Sequence[int]) -> Iterator[BenchBlock]:
    for place, judged in enumerate(datasets):
        others = [data for other, data in enumerate(datasets) if other != place]
        if others:
            try:
                yield across(others, judged, seeds)
            except TableError as error:
                print(f"left out: {error}", file=sys.stderr)


def _run(section: Section, arguments: argparse.Namespace) -> list[Row]:
    judging = JudgeSettings(tuple(MEASURES[name] for name in section.protocols), replicates=arguments.replicates)
    wanted: list[Task] = tasks(section.blocks, section.routers, section.views)
    print(section.title, file=sys.stderr)
    return rows(section.blocks, run_tasks(section.blocks, wanted, judging, arguments.jobs, teller(section.blocks)))


def _bundled() -> BenchInput:
    offline = load_offline()
    return BenchInput(offline.datasets, offline.encoder_name, offline.encoder_digest)


def _rebuild(arguments: argparse.Namespace) -> int:
    if not arguments.table:
        print("--rebuild-offline needs the tables: --table CSV ...", file=sys.stderr)
        return 2
    given = read_given(arguments.table, arguments)
    offline = Offline(given.datasets, given.encoder_name, given.encoder_digest)
    size = save_offline(offline, arguments.rebuild_offline)
    print(f"wrote {arguments.rebuild_offline}: {size / 1e6:.1f} MB")
    return 0


def _facts(arguments: argparse.Namespace, given: BenchInput, took_s: float) -> dict[str, Any]:
    return {
        "command": command_of("routing.quality", arguments.words),
        "tables": ", ".join(
            f"{data.name} ({len(data.table)} x {len(data.table.candidates)})" for data in given.datasets
        ),
        "encoder": given.encoder,
        "shipped": DEFAULT,
        "learned from": f"{arguments.train:.0%} of groups",
        "versions": in_words(package_versions()),
        "cpu": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {arguments.jobs} processes",
        "took": f"{took_s:.0f} s",
    }


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="append", type=Path, default=[])
    parser.add_argument("--images", type=Path, help="folder of the images; by default each table's own")
    parser.add_argument("--embeddings", type=Path, help="keep vectors in this .npz, and start from it")
    parser.add_argument("--encoder", default="fused-lite")
    parser.add_argument("--routers", default="all", help=f"of: {', '.join(sorted(ALGORITHMS))}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train", type=float, default=0.2)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument(
        "--rebuild-offline",
        type=Path,
        nargs="?",
        const=BUNDLED,
        metavar="DIR",
        help=f"default: {BUNDLED.name} of routers/bundled",
    )
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    arguments.words = words
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
