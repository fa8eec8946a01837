"""`loupe bench`: judge routers on outcome tables that they did not learn from, and print, write and
draw the results.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError
from gateway.outcomes.datasets import embed, load_encoder, read_tables, rows_of
from routers.evaluation.bench import VIEWS, BenchBlock, JudgeSettings, Task, across, tasks, within
from routers.evaluation.judge import BASELINES
from routers.evaluation.paper_protocol import Paper
from routers.evaluation.protocol import Measure, SharedSweep
from routers.evaluation.reports.text import Row, as_json, as_text, notes, rows
from routers.evaluation.reports.versions import in_words, package_versions
from routers.evaluation.workers import run_tasks
from routers.registry import ALGORITHMS, DEFAULT
from routers.table.numeric import OfflineError, load_offline
from routers.table.outcome_table import Dataset, TableError, merge

MEASURES: Mapping[str, Measure] = {"shared": SharedSweep(), "paper": Paper()}

UNASKED = tuple(dict.fromkeys((DEFAULT, "best_single", "knn", "linear_mf", "extra_trees")))
"""The routers that are judged by default: the shipped one, and the ones worth comparing another with."""
UNASKED_SEEDS, SEEDS = 3, 5

_BUNDLED_NOTE = (
    "The bundled tables are numbers only: real scores of DynaMath and BlindTest; output tokens and costs are simulated "
    "(drawn once, at list prices)."
)


@dataclass(frozen=True, slots=True)
class BenchInput:
    """The data sets to judge on, and a note about them."""

    datasets: tuple[Dataset, ...]
    encoder_name: str
    encoder_digest: str
    note: str = ""

    @property
    def encoder(self) -> str:
        return f"{self.encoder_name} {self.encoder_digest[:12]}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    tables = parser.add_argument_group("tables; without any, those that Loupe carries in numbers")
    tables.add_argument(
        "--table", action="append", type=Path, default=[], help="MMR-Bench CSV; each is judged by itself"
    )
    tables.add_argument("--test", type=Path, metavar="CSV", help="learn from all of --table, be judged on this one")
    tables.add_argument("--leave-out", metavar="NAME", help="learn from all tables but NAME, be judged on it")
    tables.add_argument(
        "--text-only", action="store_true", help="withhold images from the test rows, not from training"
    )
    tables.add_argument("--encoder", default="fused-lite", help="a bundled encoder's name, or a bundle's folder")
    tables.add_argument("--images", type=Path, metavar="DIR", help="folder of the images; by default each table's own")
    tables.add_argument("--embeddings", type=Path, metavar="FILE", help="keep vectors in this .npz, and start from it")
    known = ", ".join(sorted(ALGORITHMS))
    parser.add_argument("--routers", metavar="all|A,B", help=f"of: {known}; by default {','.join(UNASKED)}")
    parser.add_argument(
        "--views", default="both", metavar="text|image|both", help="what routers see; several by commas"
    )
    parser.add_argument("--protocol", choices=sorted(MEASURES), default="shared", help="how they are judged")
    parser.add_argument("--train", type=float, default=0.2, help="share of groups to learn from")
    parser.add_argument("--seeds", type=int, metavar="N", help=f"how many splits (default {SEEDS})")
    parser.add_argument("--seed", type=int, default=0, help="the first split's seed")
    parser.add_argument("--replicates", type=int, default=200, metavar="N", help="of the bootstrap over groups")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="processes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write a PNG per table and report.html there")


def run(arguments: argparse.Namespace) -> int:
    """Judge routers. Returns 0 if every router was judged; 1 if one failed, which the report says.
    Raises ConfigError.
    """
    started = time.monotonic()
    asked = _refuse_unusable(arguments)
    try:
        given = _given(arguments)
        blocks = _blocks(given.datasets, arguments, asked.seeds)
    except (TableError, OfflineError, ValueError) as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror or error}") from error
    facts = _facts(arguments, asked, given)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    judging = JudgeSettings((MEASURES[arguments.protocol],), replicates=arguments.replicates)
    wanted = tasks(blocks, asked.routers, asked.views)
    try:
        found = rows(blocks, run_tasks(blocks, wanted, judging, arguments.jobs, teller(blocks)))
    except BrokenProcessPool as error:
        raise ConfigError(f"a worker process ended early, out of memory perhaps; try --jobs 1: {error}") from error
    facts |= {"took": f"{time.monotonic() - started:.0f} s"}
    _print_report(found, blocks, facts["took"])
    try:
        _write(arguments, (found, blocks), facts)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror or error}") from error
    return 1 if any(row.problem for row in found) else 0


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """The routers, views and seeds that the arguments select."""

    routers: tuple[str, ...]
    views: tuple[str, ...]
    seeds: tuple[int, ...]


def _refuse_unusable(arguments: argparse.Namespace) -> BenchPlan:
    named = bool(arguments.table)
    count = arguments.seeds if arguments.seeds is not None else SEEDS if named else UNASKED_SEEDS
    for word, value, least in (
        ("seeds", count, 1),
        ("replicates", arguments.replicates, 0),
        ("jobs", arguments.jobs, 1),
    ):
        if value < least:
            raise ConfigError(f"--{word} is {value}; it is {least} or more")
    if not 0 < arguments.train < 1:
        raise ConfigError(f"--train is {arguments.train:g}; it lies between 0 and 1")
    if arguments.test is not None and not named:
        raise ConfigError("--test needs a --table to learn from")
    if arguments.test is not None and arguments.leave_out is not None:
        raise ConfigError("--test and --leave-out both name the table to be judged on; give one")
    if arguments.json is not None and not arguments.json.parent.is_dir():
        raise ConfigError(f"--json: the folder {arguments.json.parent} does not exist")
    if arguments.json is not None and arguments.json.is_dir():
        raise ConfigError(f"--json: {arguments.json} is a folder")
    if arguments.plots is not None and arguments.plots.exists() and not arguments.plots.is_dir():
        raise ConfigError(f"--plots: {arguments.plots} is not a folder")
    if arguments.plots is not None and find_spec("matplotlib") is None:
        raise ConfigError('--plots draws with matplotlib: pip install "loupe-gateway[science]"')
    return BenchPlan(
        routers=choose_routers(arguments.routers or ",".join(UNASKED)),
        views=_chosen("--views", arguments.views, VIEWS),
        seeds=tuple(range(arguments.seed, arguments.seed + count)),
    )


def choose_routers(words: str) -> tuple[str, ...]:
    """Parse `all`, or names by commas. Raises ConfigError.

    Baselines are always judged, so naming one adds nothing.
    """
    known = [name for name in ALGORITHMS if name not in BASELINES]
    if words == "all":
        return tuple(known)
    chosen = _chosen("--routers", words, (*known, *BASELINES))
    return tuple(name for name in chosen if name not in BASELINES)


def _chosen(word: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise ConfigError(f"{word}: unknown name {name!r}; known: {', '.join(sorted(known))}")
    return names


def _given(arguments: argparse.Namespace) -> BenchInput:
    if not arguments.table:
        offline = load_offline()
        return BenchInput(offline.datasets, offline.encoder_name, offline.encoder_digest, _BUNDLED_NOTE)
    return read_given([*arguments.table, *([arguments.test] if arguments.test else [])], arguments)


def read_given(paths: Sequence[Path], arguments: argparse.Namespace) -> BenchInput:
    """Read tables from files, with the encoder's views; `arguments` has `images`, `encoder` and `embeddings`."""
    parts = read_tables(paths, arguments.images)
    whole = merge(list(parts.values()))
    encoder = load_encoder(arguments.encoder)
    views = embed(whole, encoder, arguments.embeddings)
    image_views = frozenset(encoder.image_dims)
    datasets = []
    for name, part in parts.items():
        places = rows_of(part, whole)
        datasets.append(Dataset(name, part, {view: values[places] for view, values in views.items()}, image_views))
    return BenchInput(tuple(datasets), encoder.name, encoder.digest)


def _blocks(datasets: Sequence[Dataset], arguments: argparse.Namespace, seeds: Sequence[int]) -> list[BenchBlock]:
    judged = arguments.test.stem if arguments.test is not None else arguments.leave_out
    if judged is None:
        return [within(data, arguments.train, seeds, text_only=arguments.text_only) for data in datasets]
    names = [data.name for data in datasets]
    if judged not in names or len(names) < 2:
        raise ConfigError(f"--leave-out {judged}: the tables are {', '.join(names)}; it needs that one and another")
    learned = [data for data in datasets if data.name != judged]
    return [across(learned, datasets[names.index(judged)], seeds, text_only=arguments.text_only)]


def _facts(arguments: argparse.Namespace, asked: BenchPlan, given: BenchInput) -> dict[str, str]:
    crossing = arguments.test is not None or arguments.leave_out is not None
    learned = "all rows of the other tables" if crossing else f"{arguments.train:.0%} of groups"
    facts = {
        "command": shlex.join(["loupe", *sys.argv[1:]]),
        "tables": ", ".join(
            f"{data.name} ({len(data.table)} x {len(data.table.candidates)})" for data in given.datasets
        ),
        "encoder": given.encoder,
        "routers": f"{', '.join(asked.routers)}; shipped: {DEFAULT}",
        "views": ", ".join(asked.views) + ("; test rows without images" if arguments.text_only else ""),
        "judged": f"{arguments.protocol} protocol, learned from {learned}, the tables' own costs",
        "seeds": ", ".join(map(str, asked.seeds)),
        "versions": in_words(package_versions()),
    }
    return facts | ({"note": given.note} if given.note else {})


def teller(blocks: Sequence[BenchBlock]) -> Callable[[Task, float, int, int], None]:
    """Return a function that reports each task on standard error: on a terminal as one line that is overwritten."""

    def tell(task: Task, seconds: float, done: int, total: int) -> None:
        seed = blocks[task.block].splits[task.split].seed
        line = f"[{done}/{total}] {blocks[task.block].name} {task.router} {task.view} seed {seed}: {seconds:.1f} s"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    return tell


def _print_report(found: Sequence[Row], blocks: Sequence[BenchBlock], took: str) -> None:
    for block in blocks:
        learned = "" if block.learned_from == (block.name,) else f", learned from {', '.join(block.learned_from)}"
        print(f"\n{block.name}{learned}\n{as_text(found, block.name)}")
    for row in found:
        if row.problem:
            print(f"{row.table}, {row.router} ({row.view}): {'; '.join(notes(row))}", file=sys.stderr)
    print(
        f"\n[..] 95% interval, bootstrap over groups; ± standard deviation over seeds; * what Loupe ships. Took {took}."
    )


def _write(arguments: argparse.Namespace, result: tuple[list[Row], list[BenchBlock]], facts: Mapping[str, str]) -> None:
    found, blocks = result
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(as_object(arguments, result, facts), indent=1) + "\n", encoding="utf-8")
    if arguments.plots is None:
        return
    arguments.plots.mkdir(parents=True, exist_ok=True)
    plots, page = (
        import_module("routers.evaluation.reports.plots"),
        import_module("routers.evaluation.reports.html"),
    )  # matplotlib: heavy, and an extra
    for block in blocks:
        (arguments.plots / f"frontier-{block.name}.png").write_bytes(plots.frontier_png(found, block))
    (arguments.plots / "report.html").write_text(page.as_page(found, blocks, facts), encoding="utf-8")
    print(f"wrote {arguments.plots / 'report.html'} and {len(blocks)} PNG file(s)")


def as_object(
    arguments: argparse.Namespace, result: tuple[list[Row], list[BenchBlock]], facts: Mapping[str, str]
) -> dict[str, Any]:
    """Return the whole run as a JSON object."""
    found, blocks = result
    return {
        "protocol": arguments.protocol,
        "tables": [block.name for block in blocks],
        "command": facts["command"],
        "versions": package_versions(),
        "seeds": [split.seed for split in blocks[0].splits],
        "train": arguments.train,
        "text_only": arguments.text_only,
        "encoder": facts["encoder"],
        "took": facts["took"],
        "note": facts.get("note"),
        "results": as_json(found),
    }
