"""`loupe data pull`: download a public outcome table with its images."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from tqdm import tqdm

from gateway.errors import ConfigError
from gateway.outcomes.downloads import PinnedFile, fetch, list_dataset, unpack
from routers.table.mmr_csv import read_mmr_csv
from routers.table.outcome_table import TableError

DATA_SETS = {"mmr-bench": "gh0stHunter/MMR-Bench"}
"""A mapping from a data set's name to its repository on the hub."""

_TABLE = ".csv"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_MOST_JOBS = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: which data set, where to, and from where."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    pull = actions.add_parser("pull", help="fetch what is missing; what is there and right is left")
    pull.add_argument("name", choices=DATA_SETS)
    pull.add_argument("--out", type=Path, metavar="DIR", help="by default a folder of that name")
    pull.add_argument("--hub", metavar="URL", help="a mirror; by default HF_ENDPOINT, or huggingface.co")
    pull.add_argument("--revision", default="main", help="a branch, tag or commit; by default %(default)s")
    pull.add_argument("--no-images", action="store_true", help="the table alone")
    pull.add_argument("--jobs", type=_jobs, default=4, metavar="N", help=f"files at a time, 1 to {_MOST_JOBS}")


def run(arguments: argparse.Namespace) -> int:
    """Download, verify, unpack, and print what is there. Raises ConfigError; then no incomplete file is left as
    finished.
    """
    folder = arguments.out or Path(arguments.name)
    name = DATA_SETS[arguments.name]
    try:
        listed = list_dataset(name, arguments.revision, arguments.hub and arguments.hub.rstrip("/"))
        files = {path: file for path, file in listed.items() if _is_wanted(path, arguments.no_images)}
        if not any(path.endswith(_TABLE) for path in files):
            raise ConfigError(f"{name} at revision {arguments.revision!r} has no CSV table")
        _fetch_all(name, files, folder, arguments.jobs)
        for path in files:
            if path.endswith(_ARCHIVES):
                print(f"unpacked {path}: {unpack(folder / path, folder):,} files")
        for path in files:
            if path.endswith(_TABLE):
                print(_described(folder / path))
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror or error}") from error
    return 0


def _is_wanted(path: str, no_images: bool) -> bool:
    if any(part.startswith(".") for part in path.split("/")):
        return False
    return not no_images or ("/" not in path and not path.endswith(_ARCHIVES))


def _fetch_all(name: str, files: Mapping[str, PinnedFile], folder: Path, jobs: int) -> None:
    """Fetch all files, some at a time. The first failure stops the others; a later call continues
    where they stopped.
    """
    stop = threading.Event()
    size = sum(file.size or 0 for file in files.values())
    with (
        tqdm(total=size, desc=name, unit="B", unit_scale=True, disable=None) as bar,
        ThreadPoolExecutor(jobs) as pool,
    ):
        futures = [pool.submit(fetch, file, folder / path, bar, stop) for path, file in files.items()]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    for future in done:
        future.result()


def _described(path: Path) -> str:
    try:
        table = read_mmr_csv(path)
    except TableError as error:
        raise ConfigError(f"{path.parent}: {error}") from error
    there = sum(image is not None and image.is_file() for image in table.image_paths)
    return f"{path}: {len(table):,} queries, {there:,} with their image, {len(table.candidates)} candidates"


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MOST_JOBS}")
    return int(text)
