"""`loupe train`: train a router artifact on outcome tables, and print how good it is on held-out queries."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from gateway.errors import ConfigError
from gateway.outcomes.datasets import embed, load_encoder, read_tables, rows_of, with_image_facts
from routers.registry import ALGORITHMS, DEFAULT
from routers.table.outcome_table import TableError, merge
from routers.train import EncoderName, Plan, Summary, TrainResult, find_algorithm, train

FIGURES = {
    "nauc": "nAUC",
    "peak_score": "P_s",
    "qnc": "QNC",
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "ece": "ECE",
    "token_coverage": "tokens<=q90",
}
"""A mapping from a judgement's field to its heading."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--table", action="append", required=True, type=Path, help="MMR-Bench CSV; repeatable")
    parser.add_argument("--out", required=True, type=Path, help="folder for router.npz and router.json")
    parser.add_argument("--router", default=DEFAULT, help=f"one of: {', '.join(sorted(ALGORITHMS))}")
    parser.add_argument("--encoder", default="fused-lite", help="a bundled encoder's name, or a bundle's folder")
    parser.add_argument("--images", type=Path, help="folder of the images; by default each table's own")
    parser.add_argument("--embeddings", type=Path, help="keep vectors in this .npz, and start from it")
    parser.add_argument("--seed", type=int, default=0, help="the first split's seed")
    parser.add_argument("--seeds", type=int, default=5, help="how many splits to judge on")
    parser.add_argument("--train", type=float, default=0.2, help="share of groups that a split learns from")


def run(arguments: argparse.Namespace) -> int:
    """Judge, train, write. Raises ConfigError for tables, images or arguments that cannot be used."""
    if arguments.seeds < 1 or not 0 < arguments.train < 1:
        raise ConfigError("--seeds is 1 or more, and --train lies between 0 and 1")
    started = time.monotonic()
    try:
        algorithm = find_algorithm(arguments.router)
        parts = read_tables(arguments.table, arguments.images)
        table, _ = with_image_facts(merge(list(parts.values())), lambda _done, _total: None)
        print(f"{len(table)} queries, {len(table.candidates)} candidates, {int(table.mask.sum())} cells")
        encoder = load_encoder(arguments.encoder)
        views = embed(table, encoder, arguments.embeddings)
        plan = Plan(
            parts={name: rows_of(part, table) for name, part in parts.items()},
            train=arguments.train,
            seeds=tuple(range(arguments.seed, arguments.seed + arguments.seeds)),
        )
        training = train(
            algorithm, (table, views), EncoderName(encoder.name, encoder.digest), plan, arguments.out, _say_seeds
        )
    except (TableError, ValueError) as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{error.filename or arguments.out}: {error.strerror or error}") from error
    _print_report(training, plan)
    print(f"wrote {arguments.out} (router {training.digest[:12]}) in {time.monotonic() - started:.0f} s")
    return 0


def _say_seeds(done: int, total: int) -> None:
    if sys.stderr.isatty() or done == total:
        print(f"\rjudging: split {done} of {total}", end="\n" if done == total else "", file=sys.stderr)


def _print_report(training: TrainResult, plan: Plan) -> None:
    print(
        f"held out: {plan.train:.0%} of groups to learn from, seeds {plan.seeds[0]} to {plan.seeds[-1]}, "
        "mean +- standard deviation over them; nAUC over one cost range, the tables' own costs"
    )
    for part, policies in training.judged.items():
        print(f"\n{part}")
        print(f"  {'':<14}" + "".join(f"{heading:>16}" for heading in FIGURES.values()))
        for policy, summary in policies.items():
            print(f"  {policy:<14}" + "".join(f"{_written(summary, name):>16}" for name in FIGURES))
    learned = {name: value for name, value in training.router.settings.items() if name.startswith(("chosen", "weight"))}
    print("\nfitted on all rows: " + (", ".join(f"{name} {value}" for name, value in learned.items()) or "done"))


def _written(summary: Summary, name: str) -> str:
    mean, spread = summary.figures[name]
    if mean != mean:  # NaN: the figure is not defined for this policy
        return "-"
    if mean == float("inf"):
        return "never in some"
    return f"{mean:.3f}" if spread != spread else f"{mean:.3f} +- {spread:.3f}"
