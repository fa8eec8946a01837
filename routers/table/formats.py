"""Outcome tables by path, in every known format: MMR-Bench's CSV, RouterBench's table, or a folder of Parquet files."""

from __future__ import annotations

from pathlib import Path

from routers.table.mmr_csv import read_mmr_csv, write_mmr_csv
from routers.table.outcome_table import OutcomeTable, TableError
from routers.table.parquet import TableVectors, is_table_folder, read_parquet, write_parquet
from routers.table.routerbench import COST, is_parquet, read_routerbench, refuse_pickle
from routers.table.wide_csv import read_header

FORMATS = ("mmr", "routerbench", "parquet")
WRITTEN = ("mmr", "parquet")
"""The formats in which Loupe writes tables."""


def format_of(path: Path) -> str:
    """Return the format of the table at a path, one of `FORMATS`. Raises TableError where it has no known format.

    Raises OSError too.
    """
    if path.is_dir():
        if is_table_folder(path):
            return "parquet"
        raise TableError(f"{path}: a folder without cells.parquet and queries.parquet is not an outcome table")
    refuse_pickle(path)
    if is_parquet(path) or any(name.endswith(COST) for name in read_header(path)):
        return "routerbench"
    return "mmr"


def read_table(path: Path | str, images: Path | str | None = None, format: str | None = None) -> OutcomeTable:
    """Return the table at a path; its image paths are relative to `images` (default: the folder of the table).

    Raises TableError and OSError.
    """
    path = Path(path)
    match format or format_of(path):
        case "mmr":
            return read_mmr_csv(path, images)
        case "routerbench":
            return read_routerbench(path)
        case "parquet":
            return read_parquet(path, images)
        case other:
            raise TableError(f"unknown format {other!r}; known: {', '.join(FORMATS)}")


def format_for(path: Path) -> str:
    """Return the format for a new table by its name: MMR-Bench's for `.csv`, else a folder of Parquet files.

    Raises TableError for the name of one Parquet file.
    """
    if path.suffix.lower() == ".parquet":
        raise TableError(f"{path.name}: a table is written as a .csv file or as a folder of Parquet files: name either")
    return "mmr" if path.suffix.lower() == ".csv" else "parquet"


def write_table(
    table: OutcomeTable, path: Path | str, format: str | None = None, embedded: TableVectors | None = None
) -> None:
    """Write a table; only Parquet keeps `embedded` and notes. Raises TableError and OSError."""
    path = Path(path)
    match format or format_for(path):
        case "mmr":
            write_mmr_csv(table, path)
        case "parquet":
            write_parquet(table, path, embedded)
        case other:
            raise TableError(f"unknown format {other!r}; known: {', '.join(WRITTEN)}")
