"""Trained routers on disk: `router.npz` (numbers) and `router.json` (what they are, and the hash of the numbers).

Rule: nothing is unpickled, and nothing is used that its header does not vouch for. The hashes guard against
accidents (a cut file, a mixed pair, an edited header); they are no signature.
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
    """Where a router comes from, as its header tells.

    Attributes:
        encoder_name: the encoder of its views (its digest is the router's own).
        table_sha256: `OutcomeTable.digest` of what it learned from.
        seeds: of the held-out evaluation.
        metrics: what that evaluation found; not finite numbers are written as null.
        learned_from: `routers.evaluation.leakage.fingerprints` of the rows that it learned from; it is what tells them
        again.
    """

    encoder_name: str
    table_sha256: str
    seeds: Sequence[int] = ()
    metrics: Mapping[str, Any] | None = None
    learned_from: NDArray[np.uint32] | None = None


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """What a router must fit: the encoder in use, and the views that it gives -> their dimensions."""

    name: str
    digest: str
    view_dims: Mapping[str, int]


def bundled(name: str = "default") -> Path:
    """The folder of an artifact that Loupe carries. Raises ArtifactError for any other name."""
    folder = _BUNDLED_FOLDER / name
    if not (name.isidentifier() and (folder / HEADER).is_file()):
        raise ArtifactError(f"unknown bundled router {name!r}")
    return folder


def save(router: TrainedRouter, folder: Path, provenance: Provenance) -> str:
    """Write a router; returns the digest that it has once it is loaded."""
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
    _replace(folder / HEADER, text)  # last: a header stands only beside numbers that it fits
    return hashlib.sha256(text).hexdigest()


def load(folder: Path) -> Router:
    """The router of a folder that `save` wrote. Raises ArtifactError."""
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
    """The header of an artifact, without its seal, and the digest that the router has. Raises ArtifactError."""
    text = _read(folder / HEADER)
    return _parse(folder / HEADER, text), hashlib.sha256(text).hexdigest()


def learned_from(folder: Path) -> NDArray[np.uint32] | None:
    """The fingerprints of the rows that it learned from; None where it does not say. Raises ArtifactError."""
    numbers = _vouched_numbers(folder, read_header(folder)[0])
    try:
        with np.load(io.BytesIO(numbers), allow_pickle=False) as stored:
            return stored[_LEARNED_FROM].astype(np.uint32) if _LEARNED_FROM in stored.files else None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{folder} is inconsistent: {type(error).__name__}: {error}") from error


def refuse_misfit(router: Router, encoder: EncoderFacts) -> None:
    """Raises ArtifactError for a router of another encoder, and for views that the encoder does not give."""
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
    """sha256 over the header's fields, whatever their order and spacing."""
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
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, Mapping):
        return {str(key): _without_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
