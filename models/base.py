"""The interface of an encoder: named views of texts and images, as float32 rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Views = dict[str, NDArray[np.float32]]
"""View name -> float32 array of shape [n, dimension]."""


class EncodeError(Exception):
    """An input could not be encoded: a broken image, an unknown format. The error's text fits into a log line."""


class ImageSource(Protocol):
    """An image that is identified by its content and read only when necessary."""

    @property
    def key(self) -> bytes:
        """The hash of the content; equal keys mean equal images."""
        ...

    def read(self) -> bytes:
        """Return the file's bytes (JPEG, PNG, WebP, GIF). May be slow: call it off the event loop."""
        ...


class Encoder(Protocol):
    """A neural encoder run in this process. Its methods block: call them off the event loop.

    Attributes:
        name: such as `fused-lite`.
        digest: sha256 over the bundle's manifest; it binds a router to the encoder that the router was trained with.
        text_dims: view name -> dimension, for `encode_texts`.
        image_dims: view name -> dimension, for `encode_images`.
    """

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def text_dims(self) -> Mapping[str, int]: ...
    @property
    def image_dims(self) -> Mapping[str, int]: ...

    def encode_texts(self, texts: Sequence[str]) -> Views:
        """Return views of n texts, each [n, text_dims[view]]."""
        ...

    def encode_images(self, images: Sequence[bytes]) -> Views:
        """Return views of n image files, each [n, image_dims[view]]. Raises EncodeError when a file is unreadable."""
        ...
