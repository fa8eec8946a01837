"""The queries of a table as views: each distinct text and image is encoded once, and saved in a file if requested."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.errors import ConfigError
from models.base import EncodeError, Encoder, Views
from routers.table.outcome_table import OutcomeTable

Progress = Callable[[str, int, int], None]
"""A function that receives what is encoded, how many are done, and how many there are."""

_BATCH = 64


class Embeddings:
    """Vectors by content: `(kind, sha256)` -> views of one text or image. Bound to one encoder."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._dims: dict[str, Mapping[str, int]] = {"text": encoder.text_dims, "image": encoder.image_dims}
        self._known: dict[str, dict[str, dict[str, NDArray[np.float32]]]] = {"text": {}, "image": {}}

    def views(self, table: OutcomeTable, progress: Progress) -> Views:
        """Return the views of n queries; a query without an image has zero rows. Raises ConfigError for an unusable
        image.
        """
        texts = [_key(question.encode()) for question in table.questions]
        self._encode_texts(dict(zip(texts, table.questions, strict=True)), progress)
        images = self._encode_images(table.image_paths, progress)
        return self._stacked("text", texts) | self._stacked("image", images)

    def load(self, path: Path) -> None:
        """Load a file that `save` wrote. Raises ConfigError if the file is of another encoder, or broken."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                if str(stored["encoder_digest"]) != self._encoder.digest:
                    raise ConfigError(f"{path}: these embeddings are another encoder's; remove the file")
                for kind, dims in self._dims.items():
                    columns = {view: stored[f"{kind}/{view}"] for view in dims}
                    for row, key in enumerate(stored[f"{kind}_keys"].tolist()):
                        self._known[kind][key] = {view: rows[row] for view, rows in columns.items()}
        except (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ConfigError(f"{path}: not a file of embeddings: {error}") from error

    def save(self, path: Path) -> None:
        """Write all vectors, completely or not at all."""
        arrays: dict[str, NDArray[np.generic]] = {"encoder_digest": np.array(self._encoder.digest)}
        for kind, known in self._known.items():
            arrays[f"{kind}_keys"] = np.array(list(known), dtype=np.str_)
            for view, rows in self._stacked(kind, list(known)).items():
                arrays[f"{kind}/{view}"] = rows
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        partial.replace(path)

    def _encode_texts(self, texts: Mapping[str, str], progress: Progress) -> None:
        missing = [key for key in texts if key not in self._known["text"]]
        for done, keys in _batches(missing):
            views = self._encoder.encode_texts([texts[key] for key in keys])
            self._keep("text", keys, views)
            progress("texts", done, len(missing))

    def _encode_images(self, paths: Sequence[Path | None], progress: Progress) -> list[str | None]:
        key_of: dict[Path, str] = {}
        missing: dict[str, Path] = {}
        for path in dict.fromkeys(path for path in paths if path is not None):
            key_of[path] = _key(_read(path))
            if key_of[path] not in self._known["image"]:
                missing[key_of[path]] = path
        for done, keys in _batches(list(missing)):
            files = [missing[key] for key in keys]
            self._keep("image", keys, self._encode_files(files))
            progress("images", done, len(missing))
        return [None if path is None else key_of[path] for path in paths]

    def _encode_files(self, files: Sequence[Path]) -> Views:
        try:
            return self._encoder.encode_images([_read(path) for path in files])
        except EncodeError as error:
            if len(files) == 1:
                raise ConfigError(f"image {files[0]}: {error}") from error
        for path in files:  # one of them cannot be decoded: find out which
            self._encode_files([path])
        raise ConfigError(f"images {files[0]} to {files[-1]} cannot be encoded together")

    def _keep(self, kind: str, keys: Sequence[str], views: Views) -> None:
        for row, key in enumerate(keys):
            self._known[kind][key] = {view: views[view][row] for view in self._dims[kind]}

    def _stacked(self, kind: str, keys: Sequence[str | None]) -> Views:
        stacked = {
            view: np.zeros((len(keys), dimension), dtype=np.float32) for view, dimension in self._dims[kind].items()
        }
        for row, key in enumerate(keys):
            if key is not None:
                for view, vector in self._known[kind][key].items():
                    stacked[view][row] = vector
        return stacked


def _key(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"image {path} cannot be read: {error.strerror or error}") from error


def _batches(keys: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        yield start + len(batch), batch
