"""`loupe data pull`: fetch a public outcome table with its images."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from gateway.cli.hub import HUGGING_FACE, HubFile, Repository, fetch, list_files
from gateway.cli.progress import bar
from gateway.cli.unpack import unpack
from gateway.errors import ConfigError
from routers.mmr_csv import read_mmr_csv
from routers.table import TableError

DATA_SETS = {"mmr-bench": "gh0stHunter/MMR-Bench"}
"""Name -> repository on the hub."""

_TABLE = ".csv"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_MOST_JOBS = 32
_EVERY_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which data set, where to, and from where."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    pull = actions.add_parser("pull", help="fetch what is missing; what is there and right is left")
    pull.add_argument("name", choices=DATA_SETS)
    pull.add_argument("--out", type=Path, metavar="DIR", help="by default a folder of that name")
    pull.add_argument("--hub", default=HUGGING_FACE, help="by default %(default)s")
    pull.add_argument("--revision", default="main", help="a branch, tag or commit; by default %(default)s")
    pull.add_argument("--no-images", action="store_true", help="the table alone")
    pull.add_argument("--jobs", type=_jobs, default=4, metavar="N", help=f"files at a time, 1 to {_MOST_JOBS}")


def run(arguments: argparse.Namespace) -> int:
    """Fetch, prove, unpack, and say what is there. Raises ConfigError; then no file stands that is not whole."""
    folder = arguments.out or Path(arguments.name)
    repository = Repository(arguments.hub.rstrip("/"), DATA_SETS[arguments.name], arguments.revision)
    try:
        files = [file for file in list_files(repository) if _is_wanted(file, arguments.no_images)]
        if not any(file.path.endswith(_TABLE) for file in files):
            raise ConfigError(f"{repository.hub}: {repository.name} at {repository.revision!r} has no CSV table")
        _fetch_all(repository, files, folder, arguments.jobs)
        for file in files:
            if file.path.endswith(_ARCHIVES):
                count = unpack(folder / file.path, folder, _say_unpacked)
                print(f"unpacked {file.path}: {count:,} files")
        for file in files:
            if file.path.endswith(_TABLE):
                print(_described(folder / file.path))
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror or error}") from error
    return 0


def _is_wanted(file: HubFile, no_images: bool) -> bool:
    if any(part.startswith(".") for part in file.path.split("/")):
        return False
    return not no_images or ("/" not in file.path and not file.path.endswith(_ARCHIVES))


def _fetch_all(repository: Repository, files: Sequence[HubFile], folder: Path, jobs: int) -> None:
    """All files, some at a time. The first failure stops the others where they are; they are resumed next time."""
    shown = _TotalBar(repository.name, sum(file.size for file in files))
    stopped = threading.Event()

    def have(file: HubFile) -> None:
        def arrived(done: int) -> None:
            shown.arrived(file.path, done)
            if stopped.is_set():
                raise InterruptedError

        if not stopped.is_set():
            fetch(repository, file, folder, arrived)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(have, file) for file in files]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
    shown.close()
    for future in done:
        future.result()


def _described(path: Path) -> str:
    try:
        table = read_mmr_csv(path)
    except TableError as error:
        raise ConfigError(f"{path.parent}: {error}") from error
    there = sum(image is not None and image.is_file() for image in table.image_paths)
    return f"{path}: {len(table):,} queries, {there:,} with their image, {len(table.candidates)} candidates"


class _TotalBar:
    """How much of all files has come, on standard error. Threads may call it."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._done: dict[str, int] = {}
        self._sum = 0
        self._lock = threading.Lock()
        self._drawn = 0.0

    def arrived(self, path: str, done: int) -> None:
        with self._lock:
            self._sum += done - self._done.get(path, 0)
            self._done[path] = done
            if sys.stderr.isatty() and time.monotonic() - self._drawn >= _EVERY_S:
                self._drawn = time.monotonic()
                print(f"\r{bar(self._name, self._sum, self._total)}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        start = "\r" if sys.stderr.isatty() else ""
        print(f"{start}{bar(self._name, self._sum, self._total)}", file=sys.stderr, flush=True)


def _say_unpacked(seen: int) -> None:
    if sys.stderr.isatty() and not seen % 100:
        print(f"\runpacking: {seen:,} files", end="\r", file=sys.stderr, flush=True)


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST_JOBS}")
    return int(text)
