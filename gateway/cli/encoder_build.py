"""Building bundles: what takes the extra `export` is imported when it is asked for, and named when it is missing."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import ConfigError
from gateway.outcomes.downloads import PinnedFile, download
from models.pulled import downloads_folder

_EXPORT = ("torch", "open_clip", "onnx")
_INSTALL = {_EXPORT: 'pip install "loupe-gateway[export]"', ("onnx",): 'pip install "loupe-gateway[onnx]"'}
"""Modules -> what brings them all."""


def require_builder(kind: str) -> None:
    """Raise ConfigError unless what makes a bundle of a `combined` graph, or else of a checkpoint, is installed."""
    _refuse_missing(("onnx",) if kind == "combined" else _EXPORT)


def assemble_clip(graph: Path, out: Path, *, name: str, licence: str, source: str) -> None:
    """Write the bundle of a CLIP in one ONNX file. Raises BundleError as `models.export.combined.assemble` does."""
    assemble = importlib.import_module("models.export.combined").assemble
    assemble(graph, out, name=name, licence=licence, source=source)


def export_clip(names: tuple[str, str], out: Path, *, weights: Path | None = None, seed: int = 0) -> None:
    """Write the bundle of open_clip's (model, pretrained).

    Weights that open_clip pins by sha256 are fetched and proven; others it fetches itself. Raises ConfigError without
    the extra, DownloadError, and BundleError as `models.export.clip.build` does.
    """
    _refuse_missing(_EXPORT)
    clip = importlib.import_module("models.export.clip")
    source = clip.Source(*names, weights=weights, seed=seed)
    pinned = None if weights is not None else clip.checkpoint(source)
    if pinned is not None:
        url, sha256 = pinned
        fetched = download(PinnedFile(url, sha256), downloads_folder() / url.rsplit("/", 1)[-1])
        source = clip.Source(*names, weights=fetched, seed=seed)
    clip.build(source, out)


def quantize_bundle(source: Path, out: Path, images: Sequence[bytes] = ()) -> str:
    """Write the int8 bundle of an fp32 one; how near it is, in words. Raises ConfigError, and BundleError."""
    _refuse_missing(("onnx",))
    _, tried = importlib.import_module("models.export.quantize").quantize(source, out, images)
    lines = []
    for parity in tried:
        least = ", ".join(f"{view} {cosine:.4f}" for view, cosine in parity.least.items())
        centred = ", ".join(f"{view} {cosine:.4f}" for view, cosine in parity.centred.items())
        verdict = "kept" if parity.holds else "refused"
        lines.append(f"int8 {parity.method}: {verdict}; least cosine with fp32: {least} (mean taken off: {centred})")
    return "\n".join(lines)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A scratch folder beside `out`, so that what is finished can be moved there whole. ConfigError: it is taken."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already; say another folder, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".loupe-") as scratch:
        yield Path(scratch)


def move(finished: Path, out: Path) -> None:
    """Put a finished folder under its name, which may stand for an empty folder."""
    finished.replace(out)


def _refuse_missing(modules: tuple[str, ...]) -> None:
    if missing := [name for name in modules if not _is_installed(name)]:
        raise ConfigError(f"this takes {', '.join(missing)}, which is not installed: {_INSTALL[modules]}")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # its import was forbidden
        return False
