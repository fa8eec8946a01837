"""The outcome table that is replayed: MMR-Bench's wide CSV, found by question text and image content."""

from __future__ import annotations

import binascii
import csv
import hashlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from PIL import Image, UnidentifiedImageError

from gateway.errors import ConfigError

CELL_CHARACTERS = 16_000_000
DEFAULT_COMPLETION_TOKENS = 16
PIXELS_PER_TOKEN = 750
RIGHT_FROM = 0.5


@dataclass(frozen=True, slots=True)
class ReplayCell:
    """One candidate's outcome on one query. `prompt_tokens` is None if the table does not give it."""

    is_right: bool
    completion_tokens: int
    prompt_tokens: int | None


@dataclass(frozen=True, slots=True)
class ReplayQuery:
    """One row. `image` is the sha256 of the image file, or empty if the row has no image."""

    id: str
    question: str
    answer: str
    image: str
    image_path: str
    image_tokens: int
    cells: Mapping[str, ReplayCell]


@dataclass(frozen=True, slots=True)
class ReplayTable:
    """The queries, indexed by (question, sha256 of the image) and by (question, image path)."""

    candidates: tuple[str, ...]
    queries: tuple[ReplayQuery, ...]
    by_content: Mapping[tuple[str, str], ReplayQuery]
    by_path: Mapping[tuple[str, str], ReplayQuery]

    def find(self, question: str, images: Sequence[str]) -> ReplayQuery | None:
        """Return the query with this question and one of these images (data URLs, or URLs ending in
        the image's path).
        """
        question = question.strip()
        if not images:
            return self.by_content.get((question, ""))
        for url in images:
            if url.startswith("data:"):
                found = self.by_content.get((question, content_hash(url)))
            else:
                found = self._find_by_path(question, url)
            if found is not None:
                return found
        return None

    def _find_by_path(self, question: str, url: str) -> ReplayQuery | None:
        """Find a query by the end of a remote image's path. Nothing is fetched."""
        parts = unquote(urlsplit(url).path).strip("/").split("/")
        endings = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((self.by_path[question, ending] for ending in endings if (question, ending) in self.by_path), None)


@lru_cache(maxsize=256)
def content_hash(data_url: str) -> str:
    """Return the sha256 of the file in a data URL; empty if the data is not base64."""
    try:
        return hashlib.sha256(binascii.a2b_base64(data_url[data_url.find(",") + 1 :])).hexdigest()
    except (binascii.Error, ValueError):
        return ""


def read_table(paths: Sequence[Path], images: Path | None = None) -> ReplayTable:
    """Read several tables into one: all candidates, and the first row of those with the same question and image.

    Images lie under `images`, or else in each table's own folder. Raises ConfigError for a missing file or column, a
    cell that is not a number, and an image that is missing or not an image.
    """
    candidates: dict[str, None] = {}
    queries: list[ReplayQuery] = []
    for path in paths:
        reader = _TableReader(path, images or path.parent)
        queries.extend(reader.queries())
        candidates.update(dict.fromkeys(reader.candidates))
    by_content: dict[tuple[str, str], ReplayQuery] = {}
    by_path: dict[tuple[str, str], ReplayQuery] = {}
    for query in queries:
        by_content.setdefault((query.question, query.image), query)
        if query.image_path:
            by_path.setdefault((query.question, query.image_path), query)
    return ReplayTable(tuple(candidates), tuple(queries), by_content, by_path)


class _TableReader:
    """A reader of one CSV. An image that several rows use is read once."""

    def __init__(self, path: Path, images: Path) -> None:
        self.path = path
        self.images = images
        self.candidates: tuple[str, ...] = ()
        self._seen: dict[str, tuple[str, int]] = {"": ("", 0)}

    def queries(self) -> Iterator[ReplayQuery]:
        csv.field_size_limit(CELL_CHARACTERS)
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                self.candidates = self._candidates(reader.fieldnames or ())
                for number, row in enumerate(reader, start=1):
                    yield self._query(number, row)
        except OSError as error:
            raise ConfigError(f"cannot read the outcome table {self.path}: {error.strerror}") from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.path} is not a CSV table: {error}") from error

    def _candidates(self, columns: Sequence[str]) -> tuple[str, ...]:
        if "question" not in columns:
            raise ConfigError(f"{self.path} has no column `question`")
        names = tuple(column.removesuffix("_correct") for column in columns if column.endswith("_correct"))
        if not names:
            raise ConfigError(f"{self.path} has no candidate: no column ends in `_correct`")
        return names

    def _query(self, number: int, row: Mapping[str, str | None]) -> ReplayQuery:
        image_path = row.get("img_path") or ""
        digest, tokens = self._image(number, image_path)
        cells = ((name, self._cell(number, row, name)) for name in self.candidates)
        return ReplayQuery(
            id=row.get("dataset_idx") or str(number),
            question=(row["question"] or "").strip(),
            answer=(row.get("answer") or "").strip(),
            image=digest,
            image_path=image_path,
            image_tokens=tokens,
            cells={name: cell for name, cell in cells if cell is not None},
        )

    def _cell(self, number: int, row: Mapping[str, str | None], name: str) -> ReplayCell | None:
        score = self._number(number, row, f"{name}_correct")
        if score is None:
            return None
        completion = self._number(number, row, f"{name}_token")
        prompt = self._number(number, row, f"{name}_prompt_token")
        return ReplayCell(
            is_right=score >= RIGHT_FROM,
            completion_tokens=DEFAULT_COMPLETION_TOKENS if completion is None else max(1, round(completion)),
            prompt_tokens=None if prompt is None else max(1, round(prompt)),
        )

    def _number(self, number: int, row: Mapping[str, str | None], column: str) -> float | None:
        text = (row.get(column) or "").strip()
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(f"{self.path}, row {number}, column {column}: {text[:40]!r} is not a number")
        return value

    def _image(self, number: int, image_path: str) -> tuple[str, int]:
        """Return the file's sha256 and its number of tokens: the image's own width x height / 750."""
        if image_path not in self._seen:
            file = self.images / image_path
            try:
                data = file.read_bytes()
                with Image.open(io.BytesIO(data)) as image:
                    width, height = image.size
            except OSError as error:
                reason = "no image" if isinstance(error, UnidentifiedImageError) else error.strerror
                raise ConfigError(f"{self.path}, row {number}: image {file}: {reason}") from error
            tokens = math.ceil(width * height / PIXELS_PER_TOKEN)
            self._seen[image_path] = (hashlib.sha256(data).hexdigest(), tokens)
        return self._seen[image_path]
