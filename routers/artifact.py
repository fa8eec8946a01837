"""Trained routers on disk: `router.npz` (numbers) and `router.json` (a header that describes and hashes the numbers).

Rule: nothing is unpickled, and numbers are used only if their hash is that of the header. The hashes guard against
accidents (a cut file, a mixed pair, an edited header); they are not signatures.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import platform
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Router
from routers.registry import ALGORITHMS, TrainedRouter

FORMAT = 1
NUMBERS, HEADER = "router.npz", "router.json"
_LEARNED_FROM = "learned_from"
_BUNDLED_FOLDER = Path(__file__).resolve().parent / "bundled"


class ArtifactError(Exception):
    """An artifact is missing, altered, cut short or of another format; the text says which file and why."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of a router, as its header states it.

    Attributes:
        encoder_name: the name of the encoder of its views (the router itself has the encoder's digest).
        table_sha256: `OutcomeTable.digest` of the table that the router learned from.
        seeds: the seeds of the held-out evaluation.
        metrics: the figures of that evaluation; numbers that are not finite are written as null.
        learned_from: `routers.evaluation.leakage.fingerprints` of the rows that the router learned from, by which these
            rows are recognised later.
    """

    encoder_name: str
    table_sha256: str
    seeds: Sequence[int] = ()
    metrics: Mapping[str, Any] | None = None
    learned_from: NDArray[np.uint32] | None = None


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """The encoder in use, which a router must fit; `view_dims` are the views that the encoder gives -> dimensions."""

    name: str
    digest: str
    view_dims: Mapping[str, int]


def bundled(name: str = "default") -> Path:
    """Return the folder of an artifact that ships with Loupe. Raises ArtifactError for any other name."""
    folder = _BUNDLED_FOLDER / name
    if not (name.isidentifier() and (folder / HEADER).is_file()):
        raise ArtifactError(f"unknown bundled router {name!r}")
    return folder


def save(router: TrainedRouter, folder: Path, provenance: Provenance) -> str:
    """Write a router to a folder. Returns the digest that the router will have when it is loaded."""
    numbers = io.BytesIO()
    arrays = dict(router.arrays())
    if provenance.learned_from is not None:
        arrays[_LEARNED_FROM] = provenance.learned_from
    np.savez_compressed(numbers, allow_pickle=False, **arrays)
    header = {
        "format": FORMAT,
        "algorithm": router.algorithm,
        "candidates": list(router.candidates),
        "encoder": {"name": provenance.encoder_name, "digest": router.encoder_digest},
        "view_dims": dict(router.view_dims),
        "table_sha256": provenance.table_sha256,
        "seeds": list(provenance.seeds),
        "hyper_parameters": dict(router.settings),
        "metrics": dict(provenance.metrics or {}),
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "npz_sha256": hashlib.sha256(numbers.getvalue()).hexdigest(),
    }
    finite = _without_infinities(header)
    text = json.dumps(finite | {"sha256": _seal(finite)}, indent=1, allow_nan=False).encode() + b"\n"
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / NUMBERS, numbers.getvalue())
    _replace(folder / HEADER, text)  # written last, so that a header is never next to numbers that it does not fit
    return hashlib.sha256(text).hexdigest()


def load(folder: Path) -> Router:
    """Return the router of a folder that `save` wrote. Raises ArtifactError."""
    header, digest = read_header(folder)
    numbers = _vouched_numbers(folder, header)
    algorithm = ALGORITHMS.get(str(header["algorithm"]))
    if algorithm is None:
        known = ", ".join(sorted(ALGORITHMS))
        raise ArtifactError(f"{folder / HEADER}: unknown algorithm {header['algorithm']!r}; known: {known}")
    try:
        return algorithm.restore(header, _arrays(numbers), digest)
    except (KeyError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{folder} is inconsistent: {type(error).__name__}: {error}") from error


def read_header(folder: Path) -> tuple[dict[str, Any], str]:
    """Return an artifact's header, without the header's own hash, and the router's digest. Raises ArtifactError."""
    text = _read(folder / HEADER)
    return _parse(folder / HEADER, text), hashlib.sha256(text).hexdigest()


def learned_from(folder: Path) -> NDArray[np.uint32] | None:
    """Return the fingerprints of the rows that a router learned from; None if it lacks them. Raises ArtifactError."""
    numbers = _vouched_numbers(folder, read_header(folder)[0])
    try:
        with np.load(io.BytesIO(numbers), allow_pickle=False) as stored:
            return stored[_LEARNED_FROM].astype(np.uint32) if _LEARNED_FROM in stored.files else None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{folder} is inconsistent: {type(error).__name__}: {error}") from error


def refuse_misfit(router: Router, encoder: EncoderFacts) -> None:
    """Raise ArtifactError for a router of another encoder, and for views that the encoder does not give."""
    if router.encoder_digest != encoder.digest:
        raise ArtifactError(
            f"the router was trained on the encoder {router.encoder_digest[:12]}, "
            f"and {encoder.name} is {encoder.digest[:12]}"
        )
    for name, dimension in router.view_dims.items():
        given = encoder.view_dims.get(name)
        if given != dimension:
            what = "does not give it" if given is None else f"gives {given}"
            raise ArtifactError(f"the router needs the view {name!r} of {dimension} numbers; {encoder.name} {what}")


def _vouched_numbers(folder: Path, header: Mapping[str, Any]) -> bytes:
    numbers = _read(folder / NUMBERS)
    if hashlib.sha256(numbers).hexdigest() != header["npz_sha256"]:
        raise ArtifactError(f"{folder / NUMBERS} is not the file that {HEADER} describes: it was altered or cut short")
    return numbers


def _arrays(numbers: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(numbers), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"array {name!r} holds a number that is not finite")
    return arrays


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(header, dict):
        raise ArtifactError(f"{path} does not hold a JSON object")
    if header.get("format") != FORMAT:
        raise ArtifactError(f"{path} is of format {header.get('format')!r}; this version reads {FORMAT}")
    for name in ("algorithm", "candidates", "encoder", "view_dims", "hyper_parameters", "npz_sha256"):
        if name not in header:
            raise ArtifactError(f"{path} lacks {name!r}")
    if header.pop("sha256", None) != _seal(header):
        raise ArtifactError(f"{path} was altered after it was written: its own hash does not fit")
    return header


def _seal(header: Mapping[str, Any]) -> str:
    """Return the sha256 over the header's fields, independent of their order and spacing."""
    return hashlib.sha256(json.dumps(header, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def _without_infinities(value: Any) -> Any:
    """Return the value with infinities and NaN replaced by None, because JSON has neither."""
    if isinstance(value, Mapping):
        return {str(key): _without_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
