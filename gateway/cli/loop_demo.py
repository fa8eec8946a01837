"""`loupe loop-demo`: run the loop on an outcome table, from a poor router to a better one, and
print what that gained.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from gateway.cli.demo import interrupt
from gateway.demo.loop.loop import LoopSettings, run_loop
from gateway.demo.loop.report import as_json, as_text, problems
from gateway.demo.services import tail
from gateway.errors import ConfigError
from gateway.providers.replay.candidates import CANDIDATES
from gateway.providers.replay.drawn_table import simulate, write_table
from gateway.providers.replay.tasks import draw_tasks
from routers.evaluation.reports.versions import package_versions

REAL = Path("../shared/data/BlindTest.csv")
"""The table that is used by default, if it exists."""
DRAWN = 4_000
PACKAGES = ("loupe-gateway", "numpy", "onnxruntime", "scikit-learn", "aiohttp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the table, the number of requests, and where the results go."""
    known = LoopSettings()
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the frontier before and after there")
    parser.add_argument(
        "--table",
        type=Path,
        metavar="CSV",
        help=f"real outcomes in MMR-Bench's form (by default {REAL}, else drawn ones)",
    )
    parser.add_argument("--requests", type=int, default=known.requests, metavar="N", help="in a round")
    parser.add_argument("--rounds", type=int, default=known.rounds, metavar="N", help="until one is promoted, at most")
    parser.add_argument("--explore", type=float, default=known.explore, metavar="RATE", help="share of requests")
    parser.add_argument("--router", default=known.router, help="the algorithm, of all routers here")
    parser.add_argument("--workers", type=int, default=known.workers, metavar="N", help="processes of the gateway")
    parser.add_argument("--seed", type=int, default=known.seed, help="of the parts, the traffic and the fits")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep tables, artifacts, store, report and logs there")


def run(arguments: argparse.Namespace) -> int:
    """Run the loop. Returns 0 if nAUC rose, QNC did not, no request was dropped and the bad artifact was refused; else
    1.
    """
    for package in ("matplotlib", "sklearn", "pyarrow"):
        if find_spec(package) is None:
            raise ConfigError(f'the loop trains and draws with {package}: pip install "loupe-gateway[science]"')
    if arguments.requests < 100 or arguments.rounds < 1 or not 0 < arguments.explore <= 1:
        raise ConfigError("--requests is 100 or more, --rounds 1 or more, --explore over 0 up to 1")
    signal.signal(signal.SIGTERM, interrupt)  # so that the pool and the gateway are stopped cleanly
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        if any(arguments.keep.iterdir()):
            raise ConfigError(
                f"--keep {arguments.keep}: it is not empty, and what is there would be taken for this run's"
            )
        return _run_in(arguments.keep.resolve(), arguments)
    with tempfile.TemporaryDirectory(prefix="loupe-loop-") as folder:
        return _run_in(Path(folder), arguments)


def _run_in(folder: Path, arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    table, what = _table(arguments, folder)
    print(f"loupe loop-demo: {what}", flush=True)
    terms = LoopSettings(
        requests=arguments.requests,
        rounds=arguments.rounds,
        explore=arguments.explore,
        router=arguments.router,
        seed=arguments.seed,
        workers=arguments.workers,
    )
    found = run_loop(table.resolve(), folder, terms, _say)
    print(f"\n{as_text(found)}")
    made = {
        "outcomes": what,
        "command": shlex.join(["loupe", *sys.argv[1:]]),
        "versions": package_versions(PACKAGES),
        "took_s": round(time.monotonic() - started, 1),
    }
    if arguments.json is not None:
        result = as_json(found, terms, made)
        arguments.json.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if arguments.plot is not None:
        shutil.copyfile(folder / "frontier" / "frontier-held-out.png", arguments.plot)
        print(f"drew {arguments.plot}")
    if problems(found):
        print(f"\nThe end of the gateway's log:\n{tail(folder / 'gateway.log')}")
        return 1
    return 0


def _table(arguments: argparse.Namespace, folder: Path) -> tuple[Path, str]:
    """Return the table's path, and a line on what it contains."""
    if arguments.table is not None:
        if not arguments.table.is_file():
            raise ConfigError(f"--table {arguments.table}: the file does not exist")
        return arguments.table, f"outcomes of {arguments.table}"
    if REAL.is_file():
        return REAL, f"REAL scores of {REAL}; its tokens and costs are simulated at list prices"
    drawn = write_table(simulate(draw_tasks(DRAWN, arguments.seed), CANDIDATES, arguments.seed), folder)
    return drawn, f"{REAL} is not there: SIMULATED outcomes of {DRAWN:,} images that are drawn here (--table CSV)"


def _say(line: str) -> None:
    print(f"loupe loop-demo: {line}", flush=True)
