"""Data sets: questions with known answers, from MMR-Bench-like CSV or JSON lines. Every row is checked before any is
asked.

Columns: `question`, `answer`, and optionally `dataset_idx` (or `id`), `group`, `img_path`, `options`, `grader`; all
others are kept as details, except `<M>_correct` and similar columns, which are others' outcomes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError, ImageError
from gateway.images.data_url import ImageLimits, Subject, check_bytes, check_pixels
from gateway.images.header import HeaderIncomplete, ImageHeader, NotAnImage, image_size
from gateway.outcomes.graders.base import BadReference, Grader, Reference
from gateway.outcomes.graders.choice import read_options
from gateway.outcomes.graders.registry import AUTO, grader_for

CELL_CHARACTERS = 16_000_000
OUTCOMES = ("_correct", "_token", "_cost", "_prompt_token", "_latency", "_weight", "_source")
_TAKEN = frozenset({"dataset_idx", "id", "question", "group", "img_path", "grader"})

Progress = Callable[[int, int], None]
"""A function that receives the number of checked rows and the number of all rows."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file of a type that providers accept."""

    path: Path
    sha256: str
    header: ImageHeader


@dataclass(frozen=True, slots=True)
class Row:
    """A query and how its replies are judged. `number` is 1 for the first row below the header."""

    number: int
    id: str
    group: str
    question: str
    picture: Picture | None
    reference: Reference
    grader: Grader
    details: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be asked or judged, and the reason."""

    number: int
    why: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """The rows of a file; `sha256` is the file's."""

    name: str
    sha256: str
    rows: tuple[Row, ...]
    bad: tuple[BadRow, ...]


@dataclass(frozen=True, slots=True)
class ReadingSettings:
    """The settings of reading: where image paths start, limits of images, and the grader if a row names none."""

    images: Path
    limits: ImageLimits
    grader: str = AUTO


def read_dataset(path: Path, reading: ReadingSettings, progress: Progress) -> Dataset:
    """Read and check a data set. Raises ConfigError if the whole file cannot be used; bad rows are listed."""
    content = _content(path)
    lines = list(
        _json_lines(path, content) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_rows(path, content)
    )
    checked = _RowChecker(path.stem, reading)
    rows, bad = [], []
    for number, line in enumerate(lines, start=1):
        try:
            if isinstance(line, str):
                raise _Unfit(line)
            rows.append(checked.row(number, line))
        except (_Unfit, BadReference, ImageError) as error:
            bad.append(BadRow(number, str(error)))
        progress(number, len(lines))
    if not lines:
        raise ConfigError(f"{path}: a data set without rows asks nothing")
    return Dataset(path.name, hashlib.sha256(content).hexdigest(), tuple(rows), tuple(bad))


class _Unfit(ValueError):
    """A row is bad; the message says why."""


class _RowChecker:
    """A checker of single rows; an image of several rows is read once."""

    def __init__(self, stem: str, reading: ReadingSettings) -> None:
        self._stem = stem
        self._reading = reading
        self._ids: dict[str, int] = {}
        self._pictures: dict[str, Picture] = {}

    def row(self, number: int, cells: Mapping[str, str]) -> Row:
        question = cells.get("question", "")
        if not question.strip():
            raise _Unfit("the question is empty")
        query_id = cells.get("dataset_idx") or cells.get("id") or f"{self._stem}_{number}"
        if query_id in self._ids:
            raise _Unfit(f"its id {query_id[:60]!r} is that of row {self._ids[query_id]} too")
        image = cells.get("img_path", "").strip()
        options = cells.get("options", "").strip()
        reference = Reference(
            cells.get("answer", ""), question, read_options(options) if options else Reference("").options
        )
        grader = grader_for(cells.get("grader", "").strip() or self._reading.grader, reference)
        picture = self._picture(image) if image else None
        self._ids[query_id] = number
        return Row(
            number=number,
            id=query_id,
            group=cells.get("group") or image or question,
            question=question,
            picture=picture,
            reference=reference,
            grader=grader,
            details={name: text for name, text in cells.items() if name not in _TAKEN},
        )

    def _picture(self, name: str) -> Picture:
        if name not in self._pictures:
            path = self._reading.images / name
            try:
                content = path.read_bytes()
            except (OSError, ValueError) as error:
                raise _Unfit(f"image {path}: {getattr(error, 'strerror', None) or error}") from None
            subject = Subject(f"image {path}")
            check_bytes(subject, len(content), self._reading.limits)
            try:
                header = image_size(content)
            except (NotAnImage, HeaderIncomplete) as error:
                raise _Unfit(f"image {path}: {error}") from None
            check_pixels(subject, header, self._reading.limits)
            self._pictures[name] = Picture(path, hashlib.sha256(content).hexdigest(), header)
        return self._pictures[name]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def _csv_rows(path: Path, content: bytes) -> Iterator[dict[str, str] | str]:
    """Yield each row's cells by column, or what is wrong with the row."""
    csv.field_size_limit(max(csv.field_size_limit(), CELL_CHARACTERS))
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = next(reader, [])
        _check_columns(path, header)
        for cells in reader:
            if len(cells) == len(header):
                yield _without_outcomes(dict(zip(header, cells, strict=True)))
            elif cells:
                yield f"it has {len(cells)} cells, the header {len(header)}"
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a CSV file in UTF-8: {error}") from None


def _check_columns(path: Path, header: list[str]) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise ConfigError(f"{path}: column {repeated[0]!r} appears twice")
    for name in ("question", "answer"):
        if name not in header:
            raise ConfigError(f"{path}: column {name!r} is missing; found: {', '.join(header)[:200] or 'none'}")


def _without_outcomes(cells: dict[str, str]) -> dict[str, str]:
    """Return the cells without others' outcomes."""
    candidates = [name.removesuffix("_correct") for name in cells if name.endswith("_correct")]
    outcomes = {candidate + suffix for candidate in candidates for suffix in OUTCOMES}
    return {name: text for name, text in cells.items() if name not in outcomes}


def _json_lines(path: Path, content: bytes) -> Iterator[dict[str, str] | str]:
    """Yield each line's members as text, or what is wrong with the line; a value that is not text stays JSON."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not text in UTF-8: {error}") from None
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield f"the line is not valid JSON: {error}"
            continue
        if isinstance(found, dict):
            yield {name: _text(value) for name, value in found.items()}
        else:
            yield "the line is not a JSON object"


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
