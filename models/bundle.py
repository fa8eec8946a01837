"""Bundles: a bundle is a folder that holds all parts of an encoder, and is checked before it is used.

`manifest.json` names each file with its sha256, the views and their dimensions, the licence, and probes: inputs whose
vectors were stored when the bundle was built. A bundle whose files or probes do not agree is refused, because an
encoder that is slightly wrong would misroute for months without failing a request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np

from models.base import EncodeError, Encoder, Views
from models.image_preprocessing import Fit
from models.tokenizer import Cleaning

FORMAT = 1
MANIFEST = "manifest.json"
MIN_PROBE_COSINE = 0.99

_BUNDLED_FOLDER = Path(__file__).resolve().parent / "bundled"
BUNDLED = ("fused-lite",)
"""The names of the bundles that ship with Loupe. For pulled or exported bundles, see `models.registry`."""


class BundleError(EncodeError):
    """A bundle is missing, altered or does not compute the same vectors as when it was built."""


@dataclass(frozen=True, slots=True)
class TextPart:
    """The text tower: its graph and tokenizer files, the number of tokens to cut texts at, and view name -> dimension.

    `cleaning` is done before the tokenizer. `outputs` has view -> the graph's output, where the two names differ.
    The graph gets `input_ids` [1, tokens], never padded, and `attention_mask` if it has such an input.
    """

    graph: str
    tokenizer: str
    max_tokens: int
    dims: Mapping[str, int]
    cleaning: Cleaning = "none"
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImagePart:
    """The image tower: its graph file, the side and fit of its input, and view name -> dimension.

    The graph gets `pixels`, uint8 [n, side, side, 3]. A part whose graph does not normalise states `mean` and `std` (of
    channels from 0 to 1), and its graph gets `pixel_values`, float32 [n, 3, side, side]. `per_run` is the largest
    number of images in one run. It is 1 where the graph rounds by the range of its whole input, so that an image does
    not change the views of another.
    """

    graph: str
    side: int
    fit: Fit
    dims: Mapping[str, int]
    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    per_run: int = 8
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probes:
    """The probe texts and image files, and the file of their views (`.npz`, one array per view)."""

    texts: tuple[str, ...]
    images: tuple[str, ...]
    vectors: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `manifest.json`. `digest` is the sha256 of the file's bytes, so it identifies the whole bundle.

    `source` says in words where the weights came from and how they were changed.
    """

    name: str
    licence: str
    files: Mapping[str, str]
    text: TextPart
    image: ImagePart
    probes: Probes
    source: str = ""
    digest: str = ""


def bundled(name: str) -> Path:
    """Return the folder of a bundle that ships with Loupe. Raises BundleError for any other name."""
    if name not in BUNDLED:
        raise BundleError(f"unknown bundle {name!r}; known: {', '.join(BUNDLED)}")
    return _BUNDLED_FOLDER / name


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a bundle. Raises BundleError unless all files are present and unaltered."""
    try:
        data = (folder / MANIFEST).read_bytes()
        manifest = _parse(json.loads(data), hashlib.sha256(data).hexdigest())
    except OSError as error:
        raise BundleError(f"{folder} is not a bundle: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read: {type(error).__name__}: {error}") from error
    for name, expected in manifest.files.items():
        _verify(folder, name, expected)
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`; `files` is computed from the folder, and `digest` is not written."""
    names = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
    said = {
        **_said(manifest),
        "files": {name: file_sha256(folder / name) for name in names},
        "text": _said(manifest.text),
        "image": _said(manifest.image),
    }
    said.pop("digest", None)
    text = json.dumps({"format": FORMAT, **said}, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def prove(encoder: Encoder, folder: Path, probes: Probes) -> float:
    """Return the least cosine between the probes' stored vectors and the vectors that the encoder computes now.

    Raises BundleError when the cosine is under `MIN_PROBE_COSINE`, or when a view is missing or of another shape.
    """
    views = probe_views(encoder, folder, probes)
    try:
        with np.load(folder / probes.vectors, allow_pickle=False) as stored:
            expected: Views = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / probes.vectors} cannot be read: {error}") from error
    if expected.keys() != views.keys():
        raise BundleError(f"{folder} stores probes of {sorted(expected)} but makes {sorted(views)}")
    least = min(_least_cosine(views[name], expected[name]) for name in views)
    if not least >= MIN_PROBE_COSINE:  # so that NaN is refused too
        raise BundleError(
            f"{folder} fails its own probes on this machine: cosine {least:.4f}, needed {MIN_PROBE_COSINE}"
        )
    return least


def probe_views(encoder: Encoder, folder: Path, probes: Probes) -> Views:
    """Return every view of the probe texts and images."""
    images = [(folder / name).read_bytes() for name in probes.images]
    return {**encoder.encode_texts(probes.texts), **encoder.encode_images(images)}


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _said(part: Manifest | TextPart | ImagePart) -> dict[str, Any]:
    """Return the fields that differ from their defaults."""
    written = asdict(part)
    for entry in fields(part):
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        if written[entry.name] == default:
            del written[entry.name]
    return written


def _parse(said: Mapping[str, Any], digest: str) -> Manifest:
    if said["format"] != FORMAT:
        raise ValueError(f"format {said['format']!r}, this version reads {FORMAT}")
    manifest = Manifest(
        name=str(said["name"]),
        licence=str(said["licence"]),
        files={str(name): str(value) for name, value in said["files"].items()},
        text=TextPart(**said["text"]),
        image=ImagePart(**said["image"]),
        probes=Probes(
            texts=tuple(said["probes"]["texts"]),
            images=tuple(said["probes"]["images"]),
            vectors=said["probes"]["vectors"],
        ),
        source=str(said.get("source", "")),
        digest=digest,
    )
    _refuse_unlisted(manifest)
    _refuse_unknown(manifest)
    return manifest


def _refuse_unknown(manifest: Manifest) -> None:
    text, image = manifest.text, manifest.image
    if text.cleaning not in get_args(Cleaning):
        raise ValueError(f"cleaning {text.cleaning!r} is not known")
    if image.fit not in get_args(Fit):
        raise ValueError(f"fit {image.fit!r} is not known")
    if not (len(image.mean) == len(image.std) and len(image.mean) in (0, 3)):
        raise ValueError("mean and std are of three channels, or left out")
    if image.per_run < 1:
        raise ValueError("per_run is at least 1")


def _refuse_unlisted(manifest: Manifest) -> None:
    """Raise ValueError unless every used file has a hash, and every file is in the folder itself."""
    used: Sequence[str] = (
        manifest.text.graph,
        manifest.text.tokenizer,
        manifest.image.graph,
        manifest.probes.vectors,
        *manifest.probes.images,
    )
    for name in used:
        if name not in manifest.files:
            raise ValueError(f"{name!r} is used but has no hash")
    for name in manifest.files:
        if name != Path(name).name:
            raise ValueError(f"{name!r} is not a plain file name")


def _verify(folder: Path, name: str, expected: str) -> None:
    try:
        found = file_sha256(folder / name)
    except OSError as error:
        raise BundleError(f"{folder} lacks {name}: {error}") from error
    if found != expected:
        raise BundleError(f"{folder / name} is not the file that was bundled: sha256 {found}, not {expected}")


def _least_cosine(rows: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    if rows.shape != expected.shape:
        raise BundleError(f"a probe view has shape {rows.shape}, stored was {expected.shape}")
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
    return float(np.min(np.sum(rows * expected, axis=1) / norms))
