"""Columns of a Parquet file as numpy arrays and texts, with errors that say file, row, column and value.

pyarrow is in an extra (`science`): this module imports it when a Parquet file is read or written, never before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from routers.base import Floats
from routers.table.outcome_table import TableError

if TYPE_CHECKING:
    import pyarrow


def arrow() -> Any:
    """Return the pyarrow package with its `parquet` module. Raises TableError that says how to install pyarrow."""
    try:
        import pyarrow  # noqa: PLC0415  # optional and heavy
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise TableError('Parquet needs pyarrow: pip install "loupe-gateway[science]"') from error
    return pyarrow


def read_parquet_file(path: Path) -> pyarrow.Table:
    """Return all columns of one file. Raises TableError and OSError."""
    try:
        with path.open("rb") as file:
            return arrow().parquet.read_table(file)
    except arrow().ArrowException as error:
        raise TableError(f"{path.name}: not a Parquet file that can be read: {error}") from error


def texts(columns: pyarrow.Table, name: str) -> tuple[str, ...]:
    """Return a column as text; a null is empty, and so is every cell of a column that is missing."""
    if name not in columns.column_names or columns.column(name).null_count == columns.num_rows:
        return ("",) * int(columns.num_rows)
    return tuple("" if value is None else str(value) for value in columns.column(name).to_pylist())


def coded_names(columns: pyarrow.Table, name: str, file: str) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Return a column of names as [n] indices into its distinct values, and these values.

    Raises TableError for a column that is missing or has a null.
    """
    if name not in columns.column_names:
        raise TableError(f"{file}: column {name!r} is missing; found: {', '.join(columns.column_names)}")
    column = columns.column(name).combine_chunks()
    if column.null_count:
        row = column.is_null().to_pylist().index(True) + 1
        raise TableError(f"{file}: row {row}, column {name!r} is empty")
    pyarrow = arrow()
    if not pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = np.asarray(column.indices.to_numpy(zero_copy_only=False), dtype=np.intp)
    return codes, tuple(str(value) for value in column.dictionary.to_pylist())


def numbers(columns: pyarrow.Table, name: str, file: str) -> Floats:
    """Return a column [n] of numbers; a null is NaN, and so is every cell of a column that is missing.

    Raises TableError for a cell that is not a number.
    """
    if name not in columns.column_names:
        return np.full(columns.num_rows, np.nan)
    pyarrow = arrow()
    column = columns.column(name)
    try:
        cast = column.cast(pyarrow.float64(), safe=False)
    except pyarrow.ArrowException:
        values = [_number(file, name, row, value) for row, value in enumerate(column.to_pylist(), start=1)]
        return np.array(values, dtype=np.float64)
    return np.asarray(cast.to_numpy(zero_copy_only=False), dtype=np.float64)


def _number(file: str, column: str, row: int, value: object) -> float:
    if value is None:
        return float("nan")
    try:
        return float(str(value))
    except ValueError:
        raise TableError(f"{file}: row {row}, column {column!r}: {str(value)[:40]!r} is not a number") from None
