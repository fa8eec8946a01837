"""What an encoder is: named views of texts and images, as float32 rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Views = dict[str, NDArray[np.float32]]
"""View name -> float32 array of shape [n, dimension]."""


class EncodeError(Exception):
    """An input could not be encoded: a broken image, an unknown format. Its text is fit for a log line."""


class ImageSource(Protocol):
    """An image that is known by its content and read only when it must be."""

    @property
    def key(self) -> bytes:
        """Hash of the content; equal keys mean equal images."""
        ...

    def read(self) -> bytes:
        """The file's bytes (JPEG, PNG, WebP, GIF). May be slow: call it off the event loop."""
        ...


class Encoder(Protocol):
    """A neural encoder run in this process. Its methods block: call them off the event loop.

    Attributes:
        name: such as `fused-lite`.
        digest: sha256 over the bundle's manifest; a router is bound to the encoder it was trained with by it.
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
        """Views of n texts, each [n, text_dims[view]]."""
        ...

    def encode_images(self, images: Sequence[bytes]) -> Views:
        """Views of n image files, each [n, image_dims[view]]. Raises EncodeError when one is unreadable."""
        ...
