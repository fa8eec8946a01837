"""Write the import table of tests/test_architecture.py into docs/architecture.md: `python -m docs.import_table`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.common.marked_section import renew
from tests.test_architecture import ROOMS, Room

PAGE = Path(__file__).resolve().with_name("architecture.md")
NAME = "imports"
"""The name of the page's marks; the table is written between them."""


def import_table(rooms: Mapping[str, Room]) -> str:
    """Return the table in Markdown, a row per room."""
    rows = ["| room | may import of ours | and of third parties |", "|---|---|---|"]
    for name, room in rooms.items():
        rows.append(f"| {_code([name])} | {_code(room.ours)} | {_code(room.third_party)} |")
    return "\n".join(rows)


def _code(names: Iterable[str]) -> str:
    """Return the names as code, a room of `gateway` without that prefix."""
    return ", ".join(f"`{name.removeprefix('gateway.')}`" for name in names)


if __name__ == "__main__":
    renew(PAGE, NAME, import_table(ROOMS))
