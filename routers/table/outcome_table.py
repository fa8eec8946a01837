"""The outcome table: the outcome of each query at each candidate.

Rule: a missing cell is missing. It is NaN and masked, never 0 and never a mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats, Views

Mask = NDArray[np.bool_]
Names = NDArray[np.str_]
Rows = NDArray[np.intp]

FURTHER = ("input_tokens", "latency_s", "weight")
"""Arrays of numbers that a table may lack; such an array is None."""


class TableError(ValueError):
    """An outcome table is not what it should be; the text says where (row, column) and why."""


@dataclass(frozen=True, slots=True, eq=False)
class OutcomeTable:
    """Outcomes of n queries at K candidates.

    Attributes:
        query_ids: n distinct names.
        groups: n names; queries of one group (one image, one template) must stay on one side of a split.
        questions: n texts.
        image_paths: n files, None for a query without image.
        candidates: K distinct names.
        score: [n, K] 0 to 1, NaN where it was not observed.
        output_tokens: [n, K], NaN where it was not observed.
        cost_usd: [n, K] cost of input and output together, NaN where it was not observed.
        details: further columns as text, each n long (`answer`, `subject`, ...).
        input_tokens: [n, K] tokens of text and images, NaN where it was not observed.
        latency_s: [n, K] seconds to the end of the reply, NaN where it was not observed.
        weight: [n, K] how much a cell counts, NaN where the weight is not given: see `weights`.
        source: [n, K] where a cell comes from (`feedback`, a benchmark's name), empty where the source is not given.
        notes: facts about the whole table (`prices`: the version of the prices that its costs were computed from).

    Raises TableError for columns of different lengths, repeated names, and numbers outside their range.
    """

    query_ids: tuple[str, ...]
    groups: tuple[str, ...]
    questions: tuple[str, ...]
    image_paths: tuple[Path | None, ...]
    candidates: tuple[str, ...]
    score: Floats
    output_tokens: Floats
    cost_usd: Floats
    details: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    input_tokens: Floats | None = None
    latency_s: Floats | None = None
    weight: Floats | None = None
    source: Names | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows, shape = len(self.query_ids), (len(self.query_ids), len(self.candidates))
        texts = {"groups": self.groups, "questions": self.questions, "image_paths": self.image_paths}
        for name, column in {**texts, **self.details}.items():
            if len(column) != rows:
                raise TableError(f"{name}: {len(column)} values for {rows} queries")
        for kind, names in (("query id", self.query_ids), ("candidate", self.candidates)):
            repeated = _first_repeated(names)
            if repeated is not None:
                raise TableError(f"{kind} {repeated!r} appears twice")
        for name, values in self.arrays().items():
            if values.shape != shape:
                raise TableError(f"{name} is {values.shape}, not {shape}")
        for name, values in self.numbers():
            self._refuse_bad_cell(name, values)

    @property
    def mask(self) -> Mask:
        """The mask [n, K] of cells whose score was observed."""
        return ~np.isnan(self.score)

    @property
    def weights(self) -> Floats:
        """The weights [n, K] of cells: 0 where no score was observed, 1 where the table gives no weight."""
        said = np.ones(self.score.shape) if self.weight is None else np.where(np.isnan(self.weight), 1.0, self.weight)
        return np.where(self.mask, said, 0.0)

    @property
    def unequal_weights(self) -> Floats | None:
        """The `weights`, or None where every observed cell has weight 1, because fits are quicker without weights."""
        weights = None if self.weight is None else self.weights
        return None if weights is None or bool((weights[self.mask] == 1).all()) else weights

    @property
    def digest(self) -> str:
        """The sha256 over everything a router could learn from; an array that the table lacks does not change it."""
        hashed = hashlib.sha256()
        for texts in (self.candidates, self.query_ids, self.groups, self.questions):
            hashed.update(repr(texts).encode())
        for name, values in self.numbers():
            if name in FURTHER:
                hashed.update(name.encode())
            hashed.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        if self.source is not None:
            hashed.update(b"source" + repr(self.source.tolist()).encode())
        return hashed.hexdigest()

    def __len__(self) -> int:
        return len(self.query_ids)

    def take(self, rows: Sequence[int] | Rows) -> OutcomeTable:
        """Return the table of these rows, in the given order."""
        chosen = [int(row) for row in rows]
        cut: dict[str, Any] = {name: values[chosen] for name, values in self.arrays().items()}
        return replace(
            self,
            query_ids=tuple(self.query_ids[row] for row in chosen),
            groups=tuple(self.groups[row] for row in chosen),
            questions=tuple(self.questions[row] for row in chosen),
            image_paths=tuple(self.image_paths[row] for row in chosen),
            details={name: tuple(column[row] for row in chosen) for name, column in self.details.items()},
            **cut,
        )

    def select(self, candidates: Sequence[str]) -> OutcomeTable:
        """Return the table of these candidates, in the given order. Raises TableError for a candidate it lacks."""
        missing = [name for name in candidates if name not in self.candidates]
        if missing:
            raise TableError(f"unknown candidate {missing[0]!r}; the table holds: {', '.join(self.candidates)}")
        columns = [self.candidates.index(name) for name in candidates]
        cut: dict[str, Any] = {name: values[:, columns] for name, values in self.arrays().items()}
        return replace(self, candidates=tuple(candidates), **cut)

    def numbers(self) -> Iterator[tuple[str, Floats]]:
        """Yield the [n, K] arrays of numbers by name: `score`, `output_tokens`, `cost_usd`, and those of `FURTHER`.

        Arrays that the table lacks are left out.
        """
        yield "score", self.score
        yield "output_tokens", self.output_tokens
        yield "cost_usd", self.cost_usd
        further = (self.input_tokens, self.latency_s, self.weight)
        yield from ((name, values) for name, values in zip(FURTHER, further, strict=True) if values is not None)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return every [n, K] array that the table has, by name: its numbers and its sources."""
        source = {} if self.source is None else {"source": self.source}
        return {**dict(self.numbers()), **source}

    def _refuse_bad_cell(self, name: str, values: Floats) -> None:
        high = 1.0 if name == "score" else np.finfo(np.float64).max
        bad = np.argwhere(~np.isnan(values) & ~((values >= 0) & (values <= high)))
        if len(bad):
            row, column = (int(index) for index in bad[0])
            allowed = "within 0 to 1" if name == "score" else "a finite number of 0 or more"
            raise TableError(
                f"{name} of {self.candidates[column]!r} for query {self.query_ids[row]!r} "
                f"(row {row + 1}): {values[row, column]:g} is not {allowed}"
            )


def merge(tables: Sequence[OutcomeTable]) -> OutcomeTable:
    """Return the union of queries and candidates; a cell that no table observed is missing.

    A query id that appears in several tables becomes one row. Notes that differ are joined (`a + b`); for example, the
    costs of two price lists are then no longer comparable. Raises TableError for no tables, for cells that contradict
    each other, and for a query id with two different questions.
    """
    if not tables:
        raise TableError("no table to merge")
    candidates = tuple(dict.fromkeys(name for table in tables for name in table.candidates))
    first: dict[str, tuple[OutcomeTable, int]] = {}
    for table in tables:
        for row, query_id in enumerate(table.query_ids):
            seen, seen_row = first.setdefault(query_id, (table, row))
            if seen.questions[seen_row] != table.questions[row]:
                raise TableError(f"query id {query_id!r} names two different questions")
    kept = list(first.values())
    names = dict.fromkeys(name for table in tables for name in table.details)
    return OutcomeTable(
        query_ids=tuple(first),
        groups=tuple(table.groups[row] for table, row in kept),
        questions=tuple(table.questions[row] for table, row in kept),
        image_paths=tuple(table.image_paths[row] for table, row in kept),
        candidates=candidates,
        details={
            name: tuple(table.details[name][row] if name in table.details else "" for table, row in kept)
            for name in names
        },
        notes=_joined_notes([table.notes for table in tables]),
        **_joined_arrays(tables, tuple(first), candidates),
    )


def _joined_arrays(
    tables: Sequence[OutcomeTable], query_ids: tuple[str, ...], candidates: tuple[str, ...]
) -> dict[str, Any]:
    """Return each array that at least one table has, over all queries and candidates."""
    row_of = {query_id: row for row, query_id in enumerate(query_ids)}
    column_of = {name: column for column, name in enumerate(candidates)}
    joined: dict[str, NDArray[Any]] = {}
    for table in tables:
        rows = np.array([row_of[query_id] for query_id in table.query_ids], dtype=np.intp)
        cells = np.ix_(rows, np.array([column_of[name] for name in table.candidates], dtype=np.intp))
        for name, values in table.arrays().items():
            shape = (len(query_ids), len(candidates))
            if name not in joined:
                joined[name] = np.full(shape, "" if name == "source" else np.nan, dtype=values.dtype)
            elif name == "source":  # make room for the longer names of both arrays
                joined[name] = joined[name].astype(np.result_type(joined[name], values))
            old = joined[name][cells]
            _refuse_contradiction(name, table, old, values)
            joined[name][cells] = np.where(_is_missing(old), values, old)
    return joined


def _refuse_contradiction(name: str, table: OutcomeTable, old: NDArray[Any], new: NDArray[Any]) -> None:
    contradictions = np.argwhere((old != new) & ~_is_missing(old) & ~_is_missing(new))
    if len(contradictions):
        row, column = (int(index) for index in contradictions[0])
        raise TableError(
            f"{name} of {table.candidates[column]!r} for query {table.query_ids[row]!r} "
            f"has two different values in the merged tables: {old[row, column]} and {new[row, column]}"
        )


def _is_missing(values: NDArray[Any]) -> Mask:
    return np.asarray(values == "" if values.dtype.kind == "U" else np.isnan(values), dtype=np.bool_)


def _joined_notes(notes: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the notes of all tables. Values that differ are joined by ` + `; a missing value is `unstated`."""
    names = dict.fromkeys(name for part in notes for name in part)
    return {name: " + ".join(dict.fromkeys(part.get(name, "unstated") for part in notes)) for name in names}


def _first_repeated(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A table, the views of its queries, and the names of the views that come from the image."""

    name: str
    table: OutcomeTable
    views: Views
    image_views: frozenset[str]
