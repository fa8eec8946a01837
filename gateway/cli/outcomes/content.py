"""`loupe content`: delete the kept questions, images and replies, if the operator chose to keep any."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.config.settings import load_config
from gateway.errors import ConfigError, StoreError
from gateway.outcomes.log.content import delete_content


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    command = commands.add_parser("delete", help="delete all content of a tenant, comments on its labels too, for good")
    command.add_argument("--tenant", required=True)
    command.add_argument("--config", type=Path, required=True, metavar="FILE", help="the gateway's; names its store")


def run(arguments: argparse.Namespace) -> int:
    """Delete a tenant's content. Raises ConfigError."""
    try:
        rows = delete_content(load_config(arguments.config).store.path, arguments.tenant)
    except StoreError as error:
        raise ConfigError(str(error)) from None
    print(f"{rows} of {arguments.tenant} deleted: questions, images, replies and comments")
    return 0
