"""A dual encoder: a text tower and an image tower, run from a bundle's ONNX graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import Views
from models.bundle import BundleError, ImagePart, Manifest, TextPart, prove, read_manifest
from models.image_preprocessing import to_pixels
from models.onnx_session import Session
from models.tokenizer import TextTokenizer


class DualEncoder:
    """An encoder of two towers; implements `models.base.Encoder`. Thread-safe, because calls do not change it."""

    def __init__(self, manifest: Manifest, folder: Path, *, threads: int) -> None:
        self._manifest = manifest
        self._text = TextTower(folder, manifest.text, threads=threads)
        self._image = ImageTower(folder, manifest.image, threads=threads)

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> DualEncoder:
        """Load the encoder of a bundle; `threads` is the number of threads within one run.

        Raises BundleError unless the bundle's hashes and probes hold.
        """
        manifest = read_manifest(folder)
        encoder = cls(manifest, folder, threads=threads)
        prove(encoder, folder, manifest.probes)
        return encoder

    @property
    def name(self) -> str:
        return self._manifest.name

    @property
    def digest(self) -> str:
        return self._manifest.digest

    @property
    def text_dims(self) -> Mapping[str, int]:
        return self._manifest.text.dims

    @property
    def image_dims(self) -> Mapping[str, int]:
        return self._manifest.image.dims

    def encode_texts(self, texts: Sequence[str]) -> Views:
        return self._text.encode(texts)

    def encode_images(self, images: Sequence[bytes]) -> Views:
        return self._image.encode(images)


class TextTower:
    """A tower from texts to views; one text per run, because a CPU gains little by batches and loses it to padding."""

    def __init__(self, folder: Path, part: TextPart, *, threads: int) -> None:
        self._part = part
        self._tokenizer = TextTokenizer(folder / part.tokenizer, part.max_tokens, part.cleaning)
        self._session = Session(folder / part.graph, threads=threads)
        self._wants_mask = "attention_mask" in self._session.inputs

    def encode(self, texts: Sequence[str]) -> Views:
        return _stacked([self._encode_one(text) for text in texts], self._part.dims)

    def _encode_one(self, text: str) -> Views:
        ids = self._tokenizer.ids(text)[np.newaxis]
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)} if self._wants_mask else {"input_ids": ids}
        return _named(self._session.run(feeds), self._part)


class ImageTower:
    """A tower from image files to views."""

    def __init__(self, folder: Path, part: ImagePart, *, threads: int) -> None:
        self._part = part
        self._session = Session(folder / part.graph, threads=threads)
        self._mean = 255 * np.array(part.mean, dtype=np.float32)
        self._std = 255 * np.array(part.std, dtype=np.float32)

    def encode(self, images: Sequence[bytes]) -> Views:
        pixels = [to_pixels(image, self._part.side, fit=self._part.fit) for image in images]
        most = self._part.per_run
        chunks = [pixels[start : start + most] for start in range(0, len(pixels), most)]
        return _stacked([self._run(np.stack(chunk)) for chunk in chunks], self._part.dims)

    def _run(self, pixels: NDArray[np.uint8]) -> Views:
        return _named(self._session.run(self._feeds(pixels)), self._part)

    def _feeds(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        if not self._part.mean:  # the graph normalises
            return {"pixels": pixels}
        values = (pixels.astype(np.float32) - self._mean) / self._std
        return {"pixel_values": np.ascontiguousarray(values.transpose(0, 3, 1, 2))}


def _named(results: Views, part: TextPart | ImagePart) -> Views:
    """Return the graph's results by the names of the views. Raises BundleError when a view is missing."""
    try:
        return {view: results[part.outputs.get(view, view)] for view in part.dims}
    except KeyError as error:
        raise BundleError(f"{part.graph} gives no {error}, but {', '.join(results)}") from error


def _stacked(parts: Sequence[Views], dims: Mapping[str, int]) -> Views:
    """Return the rows of all parts for each view; [0, dimension] where there are no parts."""
    if not parts:
        return {view: np.zeros((0, dimension), dtype=np.float32) for view, dimension in dims.items()}
    return {view: np.concatenate([part[view] for part in parts]) for view in dims}
