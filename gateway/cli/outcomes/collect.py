"""`loupe collect`: ask every candidate about every row of a data set, and write the outcome table."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from gateway.billing.money import from_usd, to_usd
from gateway.errors import ConfigError
from gateway.outcomes.collect.collector import Collector, CollectTally
from gateway.outcomes.collect.job import Job, Remains, job_of, remains_of
from gateway.outcomes.collect.journal import Journal, read_journal
from gateway.outcomes.collect.report import manifest_of, say_end, say_plan
from gateway.outcomes.collect.spending_limit import SpendingLimit
from gateway.outcomes.collect.table import table_of, write_collected, write_manifest
from gateway.outcomes.datasets import load_encoder
from gateway.outcomes.graders.registry import AUTO, GRADERS
from gateway.providers import provider_at
from models.base import EncodeError
from models.dual_encoder import DualEncoder
from models.registry import locate
from routers.table.arrow_columns import arrow
from routers.table.outcome_table import TableError

JOURNAL = "journal.jsonl"
NO_ENCODER = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--dataset", type=Path, required=True, metavar="FILE", help="CSV or JSON lines")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="where img_path starts; by default beside the data set"
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="YAML", help="the gateway's: providers and prices"
    )
    parser.add_argument("--candidates", required=True, type=_names, metavar="A,B,C", help="whom to ask")
    parser.add_argument(
        "--budget", required=True, type=_usd, metavar="USD", help="never exceeded, all runs into DIR together"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="run again with it to go on")
    parser.add_argument("--limit", type=_count, metavar="N", help="ask about N rows, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0, help="of the order that rows are asked in (default 0)")
    parser.add_argument(
        "--grader", default=AUTO, help=f"where a row names none: {AUTO} (default), {', '.join(GRADERS)}"
    )
    parser.add_argument("--instruction", metavar="TEXT", help="a system message before every question")
    parser.add_argument(
        "--max-tokens", type=_count, metavar="N", help="longest reply; by default each candidate's limit"
    )
    parser.add_argument("--encoder", metavar="NAME", help="by default the configuration's; `none` embeds nothing")
    parser.add_argument(
        "--skip-bad-rows", action="store_true", help="go on without rows that cannot be asked or judged"
    )
    parser.add_argument(
        "--refused-again", action="store_true", help="ask cells again that were turned down (400) before"
    )
    parser.add_argument("--concurrency", type=_count, default=16, metavar="N", help="requests at once (default 16)")
    parser.add_argument("--per-candidate", type=_count, default=4, metavar="N", help="of them to one (default 4)")
    parser.add_argument("--tries", type=_count, default=8, metavar="N", help="tries a cell (default 8)")
    parser.add_argument(
        "--retry-s", type=_seconds, default=1.0, metavar="S", help="the first wait (default 1), then twice"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask, and write the table: 0 if it is complete, 1 if cells are missing, 130 on ^C. Raises ConfigError."""
    try:
        arrow()  # before any money is spent: without pyarrow no table could be written
        job = job_of(arguments)
        encoder = arguments.encoder or job.plan.settings.encoder.bundle
        if encoder != NO_ENCODER:
            locate(encoder)
        tally = asyncio.run(_ask(job, arguments))
        return _write(job, arguments, None if encoder == NO_ENCODER else load_encoder(encoder), tally)
    except EncodeError as error:
        raise ConfigError(f"encoder {arguments.encoder!r}: {error}") from error
    except TableError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{error.filename or arguments.out}: {error.strerror or error}") from error


async def _ask(job: Job, arguments: argparse.Namespace) -> CollectTally:
    """Ask the remaining cells, with every step in the journal.

    Requests in progress when the process is killed count as spent in full.
    """
    journal = Journal(arguments.out / JOURNAL, _say_waiting)
    try:
        await journal.begin()
        kept = journal.kept
        remains = remains_of(job, kept, arguments)
        spending = SpendingLimit(arguments.budget, spent=kept.spent, uncertain=kept.uncertain)
        say_plan(job, remains, spending)
        bar = tqdm(total=len(remains.work), desc="asking", unit=" cells", disable=None)

        def progress(tally: CollectTally) -> None:
            bar.set_postfix(
                {"USD": to_usd(spending.spent + spending.uncertain), "retried": tally.retries}, refresh=False
            )
            bar.update(tally.done - bar.n)

        providers = {name: provider_at(endpoint) for name, endpoint in job.plan.endpoints.items()}
        collector = Collector(providers, journal, spending, job.terms, job.manner, progress)
        with bar:
            await _run(collector, remains)
        for provider in providers.values():
            await provider.close()
    finally:
        await journal.close()
    return collector.tally


async def _run(collector: Collector, remains: Remains) -> None:
    """Ask until nothing is left, or until a signal stops it: the first signal lets requests in progress finish."""
    asking = asyncio.ensure_future(collector.run(remains.work))
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if collector.stop.is_set():
            asking.cancel()
            return
        print("\nloupe collect: finishing what is under way; ^C again cuts it off", file=sys.stderr, flush=True)
        collector.stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, interrupt)
    with suppress(asyncio.CancelledError):
        await asking
    collector.tally.stopped |= asking.cancelled()


def _write(job: Job, arguments: argparse.Namespace, encoder: DualEncoder | None, tally: CollectTally) -> int:
    """Write the table of everything in the journal, and print the results of the run."""
    kept = read_journal(arguments.out / JOURNAL)
    rows = sorted(job.rows, key=lambda row: row.number)
    collected = table_of(rows, [candidate.name for candidate in job.candidates], kept)
    written = write_collected(collected, arguments.out, encoder)
    manifest = manifest_of(job, kept, remains_of(job, kept, arguments), arguments) | {"table": written}
    write_manifest(arguments.out, manifest)
    say_end(arguments.out, manifest, tally)
    return 130 if tally.stopped else 0 if manifest["complete"] else 1


def _say_waiting() -> None:
    print(
        "loupe collect: waiting for the process that is collecting into this folder; ^C ends the waiting",
        file=sys.stderr,
        flush=True,
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of different names")
    return names


def _usd(text: str) -> int:
    try:
        return from_usd(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 10**9):
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 3_600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 3,600")
    return seconds
