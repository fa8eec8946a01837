"""The artifact store: the versions of trained routers, the version in service, and the versions in service before.

`FOLDER/<id>/` holds each version's two files, and `FOLDER/current` says which version serves. A version's id is the
beginning of its digest, so a version cannot change under its name. `current` is replaced by a rename, so a reader sees
either the old version or the new version. Versions are never deleted.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.base import Encoder
from routers.artifact import HEADER, NUMBERS, ArtifactError, EncoderFacts, load, read_header, refuse_misfit
from routers.base import Router

FORMAT = 1
CURRENT = "current"
ID_LENGTH = 12
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the version in service.

    Attributes:
        digest: the new version; None: the router of the configuration.
        at: an ISO time.
        by: the command that changed it.
    """

    digest: str | None
    at: str
    by: str


@dataclass(frozen=True, slots=True)
class CurrentVersion:
    """The content of the file `current`.

    Attributes:
        stack: the digests of promoted versions, the latest last; the last digest is the version in service.
        history: every change, the oldest first.
    """

    stack: tuple[str, ...] = ()
    history: tuple[Change, ...] = ()

    @property
    def digest(self) -> str | None:
        """The digest of the version in service; None: the router of the configuration."""
        return self.stack[-1] if self.stack else None


@dataclass(frozen=True, slots=True)
class Version:
    """A version in the store: its header, or the problem with its files."""

    id: str
    header: dict[str, Any] | None
    digest: str = ""
    problem: str = ""


class ArtifactStore:
    """The artifacts of one folder, which need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mark(self) -> bytes:
        """Return the bytes of `current`, for comparison; empty where the file is missing. Raises ArtifactError."""
        try:
            return (self.folder / CURRENT).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise ArtifactError(f"{self.folder / CURRENT} cannot be read: {error.strerror or error}") from error

    def pointer(self) -> CurrentVersion:
        """Return the content of `current`. Raises ArtifactError."""
        return self.read(self.mark())

    def read(self, mark: bytes) -> CurrentVersion:
        """Return the content of a mark, the bytes of `current`. Raises ArtifactError."""
        if not mark:
            return CurrentVersion()
        try:
            said = json.loads(mark)
            if said["format"] != FORMAT:
                raise ArtifactError(
                    f"{self.folder / CURRENT} is of format {said['format']!r}; this version reads {FORMAT}"
                )
            return CurrentVersion(tuple(map(str, said["stack"])), tuple(Change(**each) for each in said["history"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{self.folder / CURRENT} is inconsistent: {error}") from error

    def path(self, digest: str) -> Path:
        """Return the folder of a version."""
        return self.folder / digest[:ID_LENGTH]

    def load(self, digest: str) -> Router:
        """Return the router of a version. Raises ArtifactError, also where its files were altered."""
        router = load(self.path(digest))
        if router.digest != digest:
            raise ArtifactError(
                f"{self.path(digest)} holds {router.digest[:ID_LENGTH]} and not {digest[:ID_LENGTH]}: altered"
            )
        return router

    def add(self, source: Path) -> str:
        """Copy an artifact into the store, if the store lacks it. Returns its digest. Raises ArtifactError, OSError."""
        digest = load(source).digest
        path = self.path(digest)
        with self._locked():
            if not self._is_whole(digest):
                partial = self.folder / f".{path.name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                for name in (NUMBERS, HEADER):
                    shutil.copyfile(source / name, partial / name)
                shutil.rmtree(path, ignore_errors=True)
                partial.replace(path)
        self.load(digest)
        return digest

    def promote(self, digest: str, at: str, by: str = "promote") -> None:
        """Put a version into service; does nothing if it serves already. Raises ArtifactError, OSError."""
        self.load(digest)
        with self._locked():
            before = self.pointer()
            if before.digest != digest:
                self._write(CurrentVersion((*before.stack, digest), (*before.history, Change(digest, at, by))))

    def roll_back(self, at: str) -> str | None:
        """Put the version before the current one into service. Raises ArtifactError.

        Returns its digest (None: the router of the configuration).
        """
        with self._locked():
            before = self.pointer()
            if not before.stack:
                raise ArtifactError(f"{self.folder}: nothing was promoted, so there is nothing to go back from")
            after = before.stack[:-1]
            if after:
                self.load(after[-1])
            digest = after[-1] if after else None
            self._write(CurrentVersion(after, (*before.history, Change(digest, at, "rollback"))))
        return digest

    def versions(self) -> list[Version]:
        """Return all versions in the store, in the order of their ids."""
        folders = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return [_version(path) for path in folders if path.is_dir() and not path.name.startswith(".")]

    def find(self, name: str) -> str:
        """Return the digest of the version whose id begins with `name`.

        Raises ArtifactError where no version or several versions match, and for a version with a problem.
        """
        found = [version for version in self.versions() if name and version.id.startswith(name)]
        if len(found) != 1:
            what = "no artifact" if not found else f"{len(found)} artifacts"
            raise ArtifactError(f"{self.folder}: {what} with the id {name!r}; known: {self._ids() or 'none'}")
        if found[0].problem:
            raise ArtifactError(found[0].problem)
        return found[0].digest

    def _ids(self) -> str:
        return ", ".join(version.id for version in self.versions())

    def _is_whole(self, digest: str) -> bool:
        try:
            self.load(digest)
        except ArtifactError:
            return False
        return True

    def _write(self, pointer: CurrentVersion) -> None:
        partial = self.folder / f".{CURRENT}.partial"
        with partial.open("w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, **asdict(pointer)}, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / CURRENT)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the store's lock, so that commands run one after another; a serving gateway only reads, without lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _version(path: Path) -> Version:
    try:
        header, digest = read_header(path)
        load(path)
    except ArtifactError as error:
        return Version(path.name, None, problem=str(error))
    if digest[:ID_LENGTH] != path.name:
        return Version(path.name, header, digest, f"{path} holds {digest[:ID_LENGTH]}: altered")
    return Version(path.name, header, digest)


def facts_of(encoder: Encoder) -> EncoderFacts:
    """Return the facts of an encoder that routers must fit."""
    return EncoderFacts(encoder.name, encoder.digest, {**encoder.text_dims, **encoder.image_dims})


def usable(router: Router, encoder: EncoderFacts) -> Router:
    """Return the same router after checks that it fits the encoder and can forecast. Raises ArtifactError."""
    refuse_misfit(router, encoder)
    blank = {name: np.ones((1, width), dtype=np.float32) for name, width in router.view_dims.items()}
    try:
        found = router.forecast(blank)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ArtifactError(f"router {router.digest[:ID_LENGTH]} cannot forecast: {error}") from error
    arrays = (found.quality, found.quality_std, found.output_tokens, found.output_tokens_high)
    if not all(values.shape == (1, len(router.candidates)) and np.isfinite(values).all() for values in arrays):
        raise ArtifactError(
            f"router {router.digest[:ID_LENGTH]} forecasts what is not finite, or not for all candidates"
        )
    return router
