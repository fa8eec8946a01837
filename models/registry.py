"""The catalogue of encoders that can be downloaded, each pinned by its hash, and the folders of pulled bundles."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.bundle import BUNDLED, MANIFEST, BundleError, bundled

HOME_VARIABLE = "LOUPE_HOME"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

HUB = "https://huggingface.co"
OPENAI = "https://openaipublic.azureedge.net"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at a base address: its path there, its sha256, and its size in bytes if the size is known."""

    base: str
    path: str
    sha256: str
    size: int | None = None

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class ListedEncoder:
    """A downloadable encoder: its name, its one file, and how Loupe turns the file into a bundle.

    `combined` is an ONNX graph of both towers, which is cut in two. `checkpoint` is OpenAI's weights, which are
    exported on this machine (this needs the extra `export`), because no publisher pins an ONNX file of these weights in
    Loupe's layout.
    """

    name: str
    kind: Literal["combined", "checkpoint"]
    file: RemoteFile
    licence: str
    summary: str


def _openai(model: str, sha256: str) -> ListedEncoder:
    """Return the encoder of the weights that open_clip names `openai`; the weights' address contains their sha256."""
    return ListedEncoder(
        model,
        "checkpoint",
        RemoteFile(OPENAI, f"clip/models/{sha256}/{model}.pt", sha256),
        "MIT, Copyright (c) 2021 OpenAI",
        "OpenAI's weights, pinned by sha256 as open_clip does; built here, which takes loupe-gateway[export]",
    )


CATALOGUE = (
    _openai("ViT-B-32", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
    _openai("ViT-B-16", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
    ListedEncoder(
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


def encoders_folder() -> Path:
    """Return `$LOUPE_HOME/encoders`; without this variable, `loupe/encoders` in the user's cache folder."""
    return _home() / "encoders"


def downloads_folder() -> Path:
    """Return the folder, next to `encoders_folder`, that keeps downloaded files until they become a bundle."""
    return _home() / "downloads"


def pulled_names() -> tuple[str, ...]:
    """Return the sorted names of the bundles in `encoders_folder`."""
    folder = encoders_folder()
    if not folder.is_dir():
        return ()
    return tuple(sorted(path.name for path in folder.iterdir() if (path / MANIFEST).is_file()))


def pulled_path(name: str) -> Path:
    """Return the folder for a bundle of this name, which need not exist. Raises BundleError for an invalid name."""
    if not _NAME.fullmatch(name):
        raise BundleError(f"{name!r} is not a name of a bundle")
    return encoders_folder() / name


def locate(name: str) -> Path:
    """Return the folder of a bundle, given its name (bundled or pulled) or its path. Raises BundleError if unknown."""
    if name in BUNDLED:
        return bundled(name)
    if (Path(name) / MANIFEST).is_file():
        return Path(name)
    if _NAME.fullmatch(name) and (pulled_path(name) / MANIFEST).is_file():
        return pulled_path(name)
    known = ", ".join(dict.fromkeys((*BUNDLED, *pulled_names())))
    raise BundleError(f"unknown bundle {name!r}, neither a folder nor a name; known: {known}")


def _home() -> Path:
    if home := os.environ.get(HOME_VARIABLE):
        return Path(home)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "loupe"
