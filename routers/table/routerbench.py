"""RouterBench's wide table (Hu et al., arXiv 2403.12031): `<model>` (score) and `<model>|total_cost` (USD) per model.

The table has one row per query (`sample_id`, `prompt`, `eval_name`), text only, as CSV or Parquet. RouterBench itself
publishes pickles. Pickles are refused, because opening a pickle runs whatever code its author put there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from routers.base import Floats
from routers.table.arrow_columns import numbers, read_parquet_file, texts
from routers.table.outcome_table import OutcomeTable, TableError
from routers.table.wide_csv import numbers_in, read_columns

REQUIRED = ("sample_id", "prompt")
COST, RESPONSE = "|total_cost", "|model_response"

_PICKLES = (".pkl", ".pickle", ".p")


def read_routerbench(path: Path | str) -> OutcomeTable:
    """Read one file. An empty cell is missing; without a `group` column, the prompt is the group.

    The models' answers (`<model>|model_response`) are left out. Raises TableError, which says row and column, and
    OSError.
    """
    path = Path(path)
    refuse_pickle(path)
    columns: Mapping[str, tuple[str, ...]]
    if is_parquet(path):
        stored = read_parquet_file(path)
        names = [name for name in stored.column_names if not name.startswith("__index_level_")]
        candidates = _candidates(path.name, names)
        arrays = [_parquet_numbers(path.name, stored, candidates, suffix) for suffix in ("", COST)]
        columns = {name: texts(stored, name) for name in _text_names(names, candidates)}
    else:
        found = read_columns(path)
        candidates = _candidates(path.name, list(found))
        rows = len(found["sample_id"])
        arrays = [numbers_in(path.name, found, [name + suffix for name in candidates], rows) for suffix in ("", COST)]
        columns = {name: found[name] for name in _text_names(list(found), candidates)}
    score, cost = arrays
    try:
        return OutcomeTable(
            query_ids=columns["sample_id"],
            groups=columns.get("group", columns["prompt"]),
            questions=columns["prompt"],
            image_paths=(None,) * len(columns["prompt"]),
            candidates=candidates,
            score=score,
            output_tokens=np.full(score.shape, np.nan),
            cost_usd=cost,
            details={name: cells for name, cells in columns.items() if name not in (*REQUIRED, "group")},
        )
    except TableError as error:
        raise TableError(f"{path.name}: {error}") from None


def refuse_pickle(path: Path) -> None:
    """Raise TableError for a pickle, recognised by its name or its first byte. Raises OSError too."""
    if path.suffix.lower() in _PICKLES or _begins(path, b"\x80"):
        raise TableError(
            f"{path.name}: a pickle runs whatever its author wrote when it is opened, so it is not read. Where you "
            "trust it, convert it: python -c \"import pandas; pandas.read_pickle('x.pkl').to_parquet('x.parquet')\""
        )


def is_parquet(path: Path) -> bool:
    """Return whether the file begins as Parquet files do."""
    return _begins(path, b"PAR1")


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _candidates(file: str, names: Sequence[str]) -> tuple[str, ...]:
    for name in REQUIRED:
        if name not in names:
            raise TableError(f"{file}: no column {name!r}; is this a RouterBench table?")
    candidates = tuple(name.removesuffix(COST) for name in names if name.endswith(COST))
    if not candidates:
        raise TableError(f"{file}: no column ends in {COST!r}, so the table has no candidates")
    lone = [name for name in candidates if name not in names]
    if lone:
        raise TableError(f"{file}: there is a column {lone[0] + COST!r}, and no column {lone[0]!r} with its scores")
    return candidates


def _text_names(names: Sequence[str], candidates: Sequence[str]) -> list[str]:
    taken = {candidate + suffix for candidate in candidates for suffix in ("", COST, RESPONSE)}
    return [name for name in names if name not in taken]


def _parquet_numbers(file: str, stored: object, candidates: Sequence[str], suffix: str) -> Floats:
    return np.column_stack([numbers(stored, name + suffix, file) for name in candidates])
