"""`loupe demo`: run the main job on drawn images and simulated candidates, and print the results."""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from gateway.demo.report import DemoReport
from gateway.demo.services import tail
from gateway.demo.show import as_json, as_text
from gateway.errors import ConfigError
from gateway.providers.replay.tally import LOG_ENTRIES

FEWEST = 20
PACKAGES = ("loupe-gateway", "openai", "onnxruntime", "numpy", "pillow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the number of requests, the seed, and where the results go."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--requests", type=_requests, default=240, metavar="N", help=f"{FEWEST} to {LOG_ENTRIES}")
    parser.add_argument("--seed", type=int, default=1, help="of images, outcomes and tokens")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep table, images, store and logs there")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo. Returns 0 if every request was answered or refused for a stated reason and the ledger is exact;
    else 1.
    """
    if find_spec("openai") is None:
        raise ConfigError('the demo sends its requests with the official client: pip install "loupe-gateway[demo]"')
    if arguments.json is not None and not arguments.json.parent.is_dir():
        raise ConfigError(f"--json {arguments.json}: its folder does not exist")
    signal.signal(signal.SIGTERM, interrupt)  # so that the pool and the gateway are stopped cleanly
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        return _run_in(arguments.keep.resolve(), arguments)
    with tempfile.TemporaryDirectory(prefix="loupe-demo-") as folder:
        return _run_in(Path(folder), arguments)


def _run_in(folder: Path, arguments: argparse.Namespace) -> int:
    for earlier in folder.glob("loupe.sqlite*"):
        earlier.unlink()  # the ledger of an earlier run
    run_demo: Callable[..., DemoReport] = import_module("gateway.demo.run").run_demo  # needs `openai`, an extra
    report = run_demo(folder, requests=arguments.requests, seed=arguments.seed, say=_say)
    print(as_text(report, arguments.seed))
    if arguments.json is not None:
        versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
        result = as_json(report, arguments.seed, shlex.join(["loupe", *sys.argv[1:]]), versions)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if not report.problems:
        return 0
    print(f"\nThe end of the gateway's log:\n{tail(folder / 'gateway.log')}")
    return 1


def _requests(text: str) -> int:
    if not text.isdecimal() or not FEWEST <= int(text) <= LOG_ENTRIES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {FEWEST} to {LOG_ENTRIES}")
    return int(text)


def _say(line: str) -> None:
    print(f"loupe demo: {line}", flush=True)


def interrupt(_number: int, _frame: object) -> None:
    """Treat SIGTERM like Ctrl-C, so that the started processes are stopped cleanly."""
    raise KeyboardInterrupt
