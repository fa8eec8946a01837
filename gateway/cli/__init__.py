"""The command `loupe`, as thin commands. Each module here has `add_arguments(parser)` and `run(arguments) -> exit
status`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from gateway.errors import LoupeError

COMMANDS = {
    "serve": ("gateway.cli.serve", "run the gateway"),
    "demo": (
        "gateway.cli.demo",
        "run the main job on drawn images and simulated candidates, and print what came of it",
    ),
    "loop-demo": (
        "gateway.cli.loop_demo",
        "run the loop: traffic, labels, export, retrain, promote, and print what it gained",
    ),
    "replay": ("gateway.cli.replay", "run a candidate pool that replays an outcome table (no model behind it)"),
    "train": ("gateway.cli.routers.train", "train a router on outcome tables"),
    "retrain": (
        "gateway.cli.routers.retrain",
        "train again on all outcomes, and promote what is better than the router in service",
    ),
    "promote": ("gateway.cli.routers.promote", "put a trained router into service"),
    "rollback": ("gateway.cli.routers.rollback", "put the previous router back into service"),
    "artifacts": ("gateway.cli.routers.artifacts", "list the routers that are kept, and which of them serves"),
    "bench": (
        "gateway.cli.routers.bench",
        "judge routers on held-out queries of outcome tables: figures, frontier, report",
    ),
    "table": ("gateway.cli.outcomes.table", "import, export, merge and show outcome tables"),
    "collect": (
        "gateway.cli.outcomes.collect",
        "ask candidates about every row of a data set, and write the outcome table",
    ),
    "grade": ("gateway.cli.outcomes.grade", "label logged answers by what is known to be right"),
    "data": ("gateway.cli.outcomes.data", "fetch a public outcome table with its images"),
    "encoder": (
        "gateway.cli.encoder",
        "list, check, pull, export and quantise the networks that queries are encoded with",
    ),
    "tenants": ("gateway.cli.tenants", "list, create, update and delete tenants"),
    "content": ("gateway.cli.outcomes.content", "delete what was kept of a tenant's questions, images and replies"),
    "keys": ("gateway.cli.keys", "make, list, revoke and rotate API keys"),
}
"""Each command's module, and what it does. To add a command, write one file and add one line here."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 1 (it failed, and says why) or 2 (wrong arguments)."""
    words = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # huggingface_hub reads it when a command imports it
    parser = argparse.ArgumentParser(
        prog="loupe", description="An OpenAI-compatible gateway that picks the multimodal model worth its price."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = words[0] if words and words[0] in COMMANDS else None
    for name, (_, summary) in COMMANDS.items():
        command = subparsers.add_parser(name, help=summary, description=summary)
        if name == chosen:  # import only the chosen command's module, because each has heavy imports
            _module(name).add_arguments(command)
    arguments = parser.parse_args(words)
    try:
        return int(_module(arguments.command).run(arguments))
    except LoupeError as error:
        print(f"loupe {arguments.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _module(command: str) -> ModuleType:
    return importlib.import_module(COMMANDS[command][0])
