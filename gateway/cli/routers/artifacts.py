"""`loupe artifacts`: list the kept routers, which of them serves, and how good they were on held-out queries."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.cli.routers.arguments import add_place_arguments, nauc_of, place_of
from gateway.errors import ConfigError
from routers.artifact import ArtifactError
from routers.artifact_store import ID_LENGTH, CurrentVersion, Version

HEADINGS = ("", "id", "router", "candidates", "nAUC held out", "table", "sha256 of the numbers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: which artifact store."""
    add_place_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it there as well, with whole headers")


def run(arguments: argparse.Namespace) -> int:
    """List the artifacts. Returns 0, or 1 if an artifact is broken. Raises ConfigError."""
    place = place_of(arguments)
    try:
        pointer, versions = place.store.pointer(), place.store.versions()
    except ArtifactError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror or error}") from error
    print("\n".join(_table([HEADINGS, *(_cells(version, pointer) for version in versions)])))
    for version in versions:
        if version.problem:
            print(f"{version.id}: {version.problem}")
    print(f"\nin service: {_named(pointer.digest)}")
    for change in pointer.history:
        print(f"  {change.at}  {change.by:<9}{_named(change.digest)}")
    if arguments.json is not None:
        _write(arguments.json, pointer, versions)
    return 1 if any(version.problem for version in versions) else 0


def _named(digest: str | None) -> str:
    return "the router of the configuration" if digest is None else digest[:ID_LENGTH]


def _cells(version: Version, pointer: CurrentVersion) -> tuple[str, ...]:
    mark = "*" if version.digest and version.digest == pointer.digest else ""
    header = version.header
    if header is None:
        return (mark, version.id, "broken", "-", "-", "-", "-")
    count = str(len(header["candidates"]))
    table = str(header.get("table_sha256", ""))[:ID_LENGTH]
    algorithm = header["algorithm"] if not version.problem else "broken"
    return (mark, version.id, algorithm, count, nauc_of(header), table, header["npz_sha256"][:ID_LENGTH])


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _write(path: Path, pointer: CurrentVersion, versions: list[Version]) -> None:
    found: dict[str, Any] = {
        "in_service": pointer.digest,
        "history": [asdict(change) for change in pointer.history],
        "artifacts": [asdict(version) for version in versions],
    }
    try:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--json {path}: {error.strerror or error}") from error
