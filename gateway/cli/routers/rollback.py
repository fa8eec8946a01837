"""`loupe rollback`: put the router that served before the last promotion back into service."""

from __future__ import annotations

import argparse

from gateway.cli.routers.arguments import add_place_arguments, now, or_else, place_of
from gateway.outcomes.datasets import load_encoder
from routers.artifact_store import ID_LENGTH, facts_of, usable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: which artifact store."""
    add_place_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Roll back. Raises ConfigError if nothing was promoted, or the previous router cannot serve; then nothing has
    changed.
    """
    place = place_of(arguments)
    with or_else("not rolled back"):
        stack = place.store.pointer().stack
        if len(stack) > 1:
            usable(place.store.load(stack[-2]), facts_of(load_encoder(place.encoder_name)))
        digest = place.store.roll_back(now())
    after = "the router of the configuration" if digest is None else digest[:ID_LENGTH]
    print(f"{after} is in service, {stack[-1][:ID_LENGTH]} is not any more")
    return 0
