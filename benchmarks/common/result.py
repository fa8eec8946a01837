"""The output of benchmarks: the command and versions behind a result, printing it, and writing it to files."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.marked_section import renew
from routers.evaluation.reports.versions import in_words, package_versions


def command_of(module: str, words: Sequence[str] | None = None) -> str:
    """Return the command that runs `benchmarks.<module>` again; `words` are its arguments, None: of this process."""
    return shlex.join(["python", "-m", f"benchmarks.{module}", *(sys.argv[1:] if words is None else words)])


def circumstances(module: str, words: Sequence[str] | None, packages: Sequence[str]) -> dict[str, Any]:
    """Return the members with which every result begins: command, versions, number of cores."""
    versions = package_versions(packages)
    return {"command": command_of(module, words), "versions": versions, "cores": len(os.sched_getaffinity(0))}


def bullets(result: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return members of a result as lines of Markdown."""
    found = ((name, result[name]) for name in names)
    return [f"* {name}: {in_words(value) if isinstance(value, dict) else value}" for name, value in found]


def deliver(arguments: argparse.Namespace, result: Mapping[str, Any], part: str, text: str) -> None:
    """Print the text. If asked, write the result to `--json`, and the text into its part of the page `--markdown`."""
    print(text)
    write_json(arguments.json, result)
    if arguments.markdown is not None:
        renew(arguments.markdown, part, text)


def write_json(file: Path | None, result: Mapping[str, Any]) -> None:
    """Write a result to a file as JSON; does nothing for None."""
    if file is not None:
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
