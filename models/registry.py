"""Encoders that can be had from elsewhere, and what pins each: nothing is listed whose hash is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HUB = "https://huggingface.co"
OPENAI = "https://openaipublic.azureedge.net"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at a base address: its path there, its sha256, and its size in bytes where that is known."""

    base: str
    path: str
    sha256: str
    size: int | None = None

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Listed:
    """An encoder by name: one file, and what becomes of it here.

    `combined` is an ONNX graph of both towers, which is cut in two. `checkpoint` is OpenAI's weights, which are
    exported here (that takes the extra `export`): no publisher pins an ONNX file of them in our layout.
    """

    name: str
    kind: Literal["combined", "checkpoint"]
    file: RemoteFile
    licence: str
    summary: str


def _openai(model: str, sha256: str) -> Listed:
    """The weights that open_clip names `openai`; their address holds their sha256."""
    return Listed(
        model,
        "checkpoint",
        RemoteFile(OPENAI, f"clip/models/{sha256}/{model}.pt", sha256),
        "MIT, Copyright (c) 2021 OpenAI",
        "OpenAI's weights, pinned by sha256 as open_clip does; built here, which takes loupe-gateway[export]",
    )


CATALOGUE = (
    _openai("ViT-B-32", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
    _openai("ViT-B-16", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
    Listed(
        "TinyCLIP-ViT-8M-16",
        "combined",
        RemoteFile(
            HUB,
            "onnx-community/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M-ONNX/resolve/main/onnx/model_int8.onnx",
            "844d1a46ab18acf50c989e541b12fe3b6dc7f8d6004725b4e992d142788e0600",
            24_281_512,
        ),
        "MIT (TinyCLIP, Microsoft); see the page it is published on",
        "int8 ONNX of both towers, pinned by size and sha256; cut in two here, which takes loupe-gateway[onnx]",
    ),
)
