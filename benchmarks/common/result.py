"""What a benchmark does with its result: says how it came about, prints it, and writes it down where that is asked."""

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
    """What runs `benchmarks.<module>` so again; `words` are its arguments, None for those of this process."""
    return shlex.join(["python", "-m", f"benchmarks.{module}", *(sys.argv[1:] if words is None else words)])


def circumstances(module: str, words: Sequence[str] | None, packages: Sequence[str]) -> dict[str, Any]:
    """The members that every result begins with."""
    versions = package_versions(packages)
    return {"command": command_of(module, words), "versions": versions, "cores": len(os.sched_getaffinity(0))}


def bullets(result: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Members of a result as lines of Markdown."""
    found = ((name, result[name]) for name in names)
    return [f"* {name}: {in_words(value) if isinstance(value, dict) else value}" for name, value in found]


def deliver(arguments: argparse.Namespace, result: Mapping[str, Any], part: str, text: str) -> None:
    """Print the text; write the result to `--json`, and the text into its part of the page `--markdown`, if asked."""
    print(text)
    write_json(arguments.json, result)
    if arguments.markdown is not None:
        renew(arguments.markdown, part, text)


def write_json(file: Path | None, result: Mapping[str, Any]) -> None:
    """Nowhere, without a file."""
    if file is not None:
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
