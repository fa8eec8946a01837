"""The start of one `loupe` process by another: with the same code, but nothing from the user's working directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def loupe_command(*words: str) -> list[str]:
    """Return the command line of `loupe` with these words, for `child_environment`.

    `-P` keeps the working directory off the child's import path: a `models.py` there belongs to the user, not to Loupe.
    """
    return [sys.executable, "-P", "-m", "gateway.cli", *words]


def child_environment() -> dict[str, str]:
    """Return this process's environment, extended so that a child finds the package where this process found it.

    `python -m gateway.cli` in a checkout that is not installed, or in `build/compiled`, found the package in the
    working directory.
    """
    root = str(Path(__file__).parents[2])
    paths = os.environ.get("PYTHONPATH", "")
    if sys.path[:1] != [root] or root in paths.split(os.pathsep):
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, paths)))}
