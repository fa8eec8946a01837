"""`loupe encoder pull`: from a name to a bundle that proves itself, or to nothing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from gateway.cli.encoder_build import (
    assemble_clip,
    export_clip,
    move,
    new_folder,
    quantize_bundle,
    require_builder,
)
from gateway.outcomes.downloads import download, pinned
from models.base import EncodeError
from models.dual_encoder import DualEncoder
from models.pulled import downloads_folder, pulled_path
from models.registry import Listed


def pull(listed: Listed, *, hub: str | None = None, int8: bool = True) -> Path:
    """The bundle's folder, fetched and built unless it is there and proves itself.

    `hub` stands for the publisher's own server. `int8` quantises what comes in fp32, if it bears it. What was fetched
    is kept only when something fails, so that the next try needs no network. Raises ConfigError, DownloadError and
    BundleError.
    """
    folder = pulled_path(listed.name)
    if _is_sound(folder):
        return folder
    require_builder(listed.kind)
    fetched = _fetch(listed, hub)
    if folder.is_dir():  # broken, as was seen above
        shutil.rmtree(folder)
    with new_folder(folder) as scratch:
        move(_built(listed, fetched, scratch, int8=int8), folder)
    fetched.unlink()
    return folder


def _is_sound(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        DualEncoder.load(folder)
    except EncodeError as error:
        print(f"{folder} is fetched anew: {error}", file=sys.stderr)
        return False
    return True


def _fetch(listed: Listed, hub: str | None) -> Path:
    return download(pinned(listed.file, hub), downloads_folder() / f"{listed.name}-{listed.file.name}")


def _built(listed: Listed, fetched: Path, scratch: Path, *, int8: bool) -> Path:
    """The finished bundle, somewhere in `scratch`."""
    plain = scratch / "plain"
    if listed.kind == "combined":
        source = f"{listed.file.path}, sha256 {listed.file.sha256}, cut in two"
        assemble_clip(fetched, plain, name=listed.name, licence=listed.licence, source=source)
        return plain
    export_clip((listed.name, "openai"), plain, weights=fetched)
    if not int8:
        return plain
    try:
        print(quantize_bundle(plain, scratch / "int8"))
    except EncodeError as error:
        print(f"kept in fp32: {error}", file=sys.stderr)
        return plain
    return scratch / "int8"
