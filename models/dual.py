"""A dual encoder: a text tower and an image tower, run from a bundle's ONNX graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.base import Views
from models.bundle import ImagePart, Manifest, TextPart, prove, read_manifest
from models.preprocess import to_pixels
from models.session import Session
from models.tokenizer import TextTokenizer

# Larger batches gain nothing on a CPU and only hold memory.
_IMAGES_PER_RUN = 8


class DualEncoder:
    """Implements `models.base.Encoder`. Thread-safe: nothing in it changes between calls."""

    def __init__(self, manifest: Manifest, folder: Path, *, threads: int) -> None:
        self._manifest = manifest
        self._text = TextTower(folder, manifest.text, threads=threads)
        self._image = ImageTower(folder, manifest.image, threads=threads)

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> DualEncoder:
        """The encoder of a bundle whose hashes and probes hold; `threads` are those within one run.

        Raises BundleError when they do not.
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
    """Texts to views, one text a run: batches gain little on a CPU and lose it again on padding."""

    def __init__(self, folder: Path, part: TextPart, *, threads: int) -> None:
        self._dims = part.dims
        self._tokenizer = TextTokenizer(folder / part.tokenizer, part.max_tokens)
        self._session = Session(folder / part.graph, threads=threads)

    def encode(self, texts: Sequence[str]) -> Views:
        return _stacked([self._encode_one(text) for text in texts], self._dims)

    def _encode_one(self, text: str) -> Views:
        ids = self._tokenizer.ids(text)[np.newaxis]
        return self._session.run({"input_ids": ids, "attention_mask": np.ones_like(ids)})


class ImageTower:
    """Image files to views."""

    def __init__(self, folder: Path, part: ImagePart, *, threads: int) -> None:
        self._part = part
        self._session = Session(folder / part.graph, threads=threads)

    def encode(self, images: Sequence[bytes]) -> Views:
        pixels = [to_pixels(image, self._part.side, fit=self._part.fit) for image in images]
        chunks = [pixels[start : start + _IMAGES_PER_RUN] for start in range(0, len(pixels), _IMAGES_PER_RUN)]
        return _stacked([self._run(chunk) for chunk in chunks], self._part.dims)

    def _run(self, pixels: Sequence[NDArray[np.uint8]]) -> Views:
        return self._session.run({"pixels": np.stack(pixels)})


def _stacked(parts: Sequence[Views], dims: Mapping[str, int]) -> Views:
    """Rows of all parts under each view; [0, dimension] where there are none."""
    if not parts:
        return {view: np.zeros((0, dimension), dtype=np.float32) for view, dimension in dims.items()}
    return {view: np.concatenate([part[view] for part in parts]) for view in dims}
