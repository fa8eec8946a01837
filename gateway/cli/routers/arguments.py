"""Shared arguments: the artifact store of a command, and the encoder of its routers, by a configuration or by name."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.config.settings import Settings, load_config
from gateway.errors import ConfigError
from gateway.outcomes.datasets import load_encoder
from models.dual_encoder import DualEncoder
from routers.artifact import ArtifactError, bundled
from routers.artifact_store import ArtifactStore, facts_of, usable
from routers.base import Router

DEFAULT_ENCODER = "fused-lite"


@dataclass(frozen=True, slots=True)
class ArtifactPlace:
    """An artifact store, the encoder's name, and the path of the router that serves while nothing is promoted.

    `settings` are the configuration's, if one was given.
    """

    store: ArtifactStore
    encoder_name: str
    fallback: Path
    settings: Settings | None = None

    def in_service(self) -> Path:
        """Return the folder of the artifact that serves. Raises ArtifactError."""
        digest = self.store.pointer().digest
        return self.fallback if digest is None else self.store.path(digest)


def add_place_arguments(parser: argparse._ActionsContainer) -> None:
    """Add `--config`, or `--artifacts` and `--encoder`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="whose router.artifacts and encoder are meant")
    parser.add_argument("--artifacts", type=Path, metavar="DIR", help="the folder of artifacts, without --config")
    parser.add_argument("--encoder", help=f"with --artifacts: a name or a bundle's folder (default {DEFAULT_ENCODER})")


def place_of(arguments: argparse.Namespace) -> ArtifactPlace:
    """Return the artifact place. Raises ConfigError if neither or both are given, or the
    configuration names no folder.
    """
    if (arguments.config is None) == (arguments.artifacts is None):
        raise ConfigError("say either --config FILE, or --artifacts DIR")
    if arguments.config is None:
        return ArtifactPlace(ArtifactStore(arguments.artifacts), arguments.encoder or DEFAULT_ENCODER, bundled())
    if arguments.encoder is not None:
        raise ConfigError("--encoder has no effect with --config, which names an encoder")
    settings = load_config(arguments.config)
    if settings.router.artifacts is None:
        raise ConfigError(f"{arguments.config}: router.artifacts is not set, so routers cannot be promoted")
    fallback = bundled() if settings.router.artifact == "default" else Path(settings.router.artifact)
    return ArtifactPlace(ArtifactStore(settings.router.artifacts), settings.encoder.bundle, fallback, settings)


def promote(place: ArtifactPlace, digest: str, encoder: DualEncoder | None = None, *, by: str = "promote") -> Router:
    """Put a version of the store into service, if it fits and forecasts. Raises ConfigError."""
    encoder = encoder or load_encoder(place.encoder_name)
    with or_else("not promoted"):
        router = usable(place.store.load(digest), facts_of(encoder))
        place.store.promote(digest, now(), by)
    return router


@contextmanager
def or_else(told: str) -> Iterator[None]:
    """Raise errors of an artifact or its files as ConfigError, whose message begins with `told`."""
    try:
        yield
    except ArtifactError as error:
        raise ConfigError(f"{told}: {error}") from error
    except OSError as error:
        raise ConfigError(f"{told}: {error.filename}: {error.strerror or error}") from error


def unknown_candidates(router: Router, settings: Settings | None) -> list[str]:
    """Return the candidates of the configuration for which the router has no column."""
    candidates = settings.candidates if settings is not None else ()
    names = dict.fromkeys(candidate.forecast_as or candidate.name for candidate in candidates)
    return [name for name in names if name not in router.candidates]


def nauc_of(header: dict[str, Any]) -> str:
    """Return the held-out nAUC in an artifact's header, by table; a dash if there is none."""
    metrics = header.get("metrics", {})
    figures = metrics.get("held_out", {})
    found = [f"{part} {policies[header['algorithm']]['nauc'][0]:.3f}" for part, policies in figures.items()]
    return ", ".join(found) or "-"


def now() -> str:
    """Return the time in the format of the artifacts' history."""
    return datetime.now(UTC).isoformat(timespec="seconds")
