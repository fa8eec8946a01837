"""`loupe promote`: put a router into service, in every gateway that watches the folder, without a restart."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.cli.routers.arguments import add_place_arguments, or_else, place_of, promote, unknown_candidates
from gateway.outcomes.datasets import load_encoder
from routers.artifact import HEADER, load
from routers.artifact_store import ID_LENGTH, facts_of, usable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: what to promote, and where."""
    parser.add_argument("artifact", metavar="DIR|ID", help="what `loupe train --out` wrote, or the id of one kept here")
    add_place_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Promote a router. Raises ConfigError for an artifact that is broken or does not fit; then nothing has changed."""
    place = place_of(arguments)
    encoder = load_encoder(place.encoder_name)
    folder = Path(arguments.artifact)
    with or_else("not promoted"):
        if (folder / HEADER).is_file():
            usable(load(folder), facts_of(encoder))  # before it is added to the store
            digest = place.store.add(folder)
        else:
            digest = place.store.find(arguments.artifact)
        before = place.store.pointer().digest
    router = promote(place, digest, encoder)
    after = "the router of the configuration" if before is None else before[:ID_LENGTH]
    print(f"{digest[:ID_LENGTH]} is in service" + (" already" if before == digest else f", after {after}"))
    for name in unknown_candidates(router, place.settings):
        print(f"loupe promote: it has no column for {name}: forecast from its neighbours in price", file=sys.stderr)
    return 0
