"""How one `loupe` starts another: the same code, and nothing that stands in the user's working directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def loupe_command(*words: str) -> list[str]:
    """Return the command line of `loupe` with these words, for `child_environment`.

    `-P` keeps the working directory off the child's import path: a `models.py` there is the user's own, not ours.
    """
    return [sys.executable, "-P", "-m", "gateway.cli", *words]


def child_environment() -> dict[str, str]:
    """Return this process's environment, with which a child finds the package where this process found it.

    `python -m gateway.cli` in a checkout that is not installed, or in `build/compiled`, found it in the working
    directory.
    """
    root = str(Path(__file__).parents[2])
    paths = os.environ.get("PYTHONPATH", "")
    if sys.path[:1] != [root] or root in paths.split(os.pathsep):
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, paths)))}
