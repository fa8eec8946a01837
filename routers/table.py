"""The outcome table: what came of each query at each candidate.

Rule: a missing cell is missing. It is NaN and masked, never 0 and never a mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]


class TableError(ValueError):
    """An outcome table is not what it should be; the text says where (row, column) and why."""


@dataclass(frozen=True, slots=True, eq=False)
class OutcomeTable:
    """n queries x K candidates.

    Attributes:
        query_ids: n distinct names.
        groups: n names; queries of one group (one image, one template) must stay on one side of a split.
        questions: n texts.
        image_paths: n files, None for a query without image.
        candidates: K distinct names.
        score: [n, K] 0 to 1, NaN where it was not observed.
        output_tokens: [n, K], NaN where it was not observed.
        cost_usd: [n, K] of input and output together, NaN where it was not observed.
        details: further columns as text, each n long (`answer`, `subject`, ...).
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
        for name, values in self.numbers():
            if values.shape != shape:
                raise TableError(f"{name} is {values.shape}, not {shape}")
            self._refuse_bad_cell(name, values)

    @property
    def mask(self) -> Mask:
        """[n, K]: the cells whose score was observed."""
        return ~np.isnan(self.score)

    @property
    def digest(self) -> str:
        """sha256 over everything a router could learn from."""
        hashed = hashlib.sha256()
        for texts in (self.candidates, self.query_ids, self.groups, self.questions):
            hashed.update(repr(texts).encode())
        for _, values in self.numbers():
            hashed.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        return hashed.hexdigest()

    def __len__(self) -> int:
        return len(self.query_ids)

    def take(self, rows: Sequence[int] | Rows) -> OutcomeTable:
        """The table of these rows, in their order."""
        chosen = [int(row) for row in rows]
        return OutcomeTable(
            query_ids=tuple(self.query_ids[row] for row in chosen),
            groups=tuple(self.groups[row] for row in chosen),
            questions=tuple(self.questions[row] for row in chosen),
            image_paths=tuple(self.image_paths[row] for row in chosen),
            candidates=self.candidates,
            score=self.score[chosen],
            output_tokens=self.output_tokens[chosen],
            cost_usd=self.cost_usd[chosen],
            details={name: tuple(column[row] for row in chosen) for name, column in self.details.items()},
        )

    def select(self, candidates: Sequence[str]) -> OutcomeTable:
        """The table of these candidates, in their order. Raises TableError for one that it lacks."""
        missing = [name for name in candidates if name not in self.candidates]
        if missing:
            raise TableError(f"no candidate {missing[0]!r} in this table; there is {', '.join(self.candidates)}")
        columns = [self.candidates.index(name) for name in candidates]
        return replace(
            self,
            candidates=tuple(candidates),
            score=self.score[:, columns],
            output_tokens=self.output_tokens[:, columns],
            cost_usd=self.cost_usd[:, columns],
        )

    def numbers(self) -> Iterator[tuple[str, Floats]]:
        """The three [n, K] arrays by name."""
        yield "score", self.score
        yield "output_tokens", self.output_tokens
        yield "cost_usd", self.cost_usd

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
    """The union of queries and candidates; what no table observed is missing.

    A query id that stands in several tables is one row, and its cells must not contradict each other.
    """
    if not tables:
        raise TableError("no table to merge")
    candidates = tuple(dict.fromkeys(name for table in tables for name in table.candidates))
    place = {name: column for column, name in enumerate(candidates)}
    sources: dict[str, tuple[OutcomeTable, int]] = {}
    for table in tables:
        for row, query_id in enumerate(table.query_ids):
            seen, seen_row = sources.setdefault(query_id, (table, row))
            if seen.questions[seen_row] != table.questions[row]:
                raise TableError(f"query id {query_id!r} names two different questions")
    row_of = {query_id: row for row, query_id in enumerate(sources)}
    arrays = {name: np.full((len(sources), len(candidates)), np.nan) for name, _ in tables[0].numbers()}
    for table in tables:
        rows = [row_of[query_id] for query_id in table.query_ids]
        cells = np.ix_(rows, [place[name] for name in table.candidates])
        for name, values in table.numbers():
            arrays[name][cells] = _joined(arrays[name][cells], values, f"{name} in the merged tables")
    kept = list(sources.values())
    names = dict.fromkeys(name for table in tables for name in table.details)
    return OutcomeTable(
        query_ids=tuple(sources),
        groups=tuple(table.groups[row] for table, row in kept),
        questions=tuple(table.questions[row] for table, row in kept),
        image_paths=tuple(table.image_paths[row] for table, row in kept),
        candidates=candidates,
        details={
            name: tuple(table.details[name][row] if name in table.details else "" for table, row in kept)
            for name in names
        },
        **arrays,
    )


def _joined(old: Floats, new: Floats, what: str) -> Floats:
    both = ~np.isnan(old) & ~np.isnan(new)
    if not np.array_equal(old[both], new[both]):
        raise TableError(f"{what}: one query has two different values for one candidate")
    return np.where(np.isnan(old), new, old)


def _first_repeated(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
