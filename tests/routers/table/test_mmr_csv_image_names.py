"""Image paths beside a table: relative, with forward slashes, and back to the same file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from routers.table.mmr_csv import relative_names


@pytest.mark.parametrize("folder", [Path("/data/tables"), Path("tables"), Path()])
@pytest.mark.parametrize(
    "path", [Path("/data/pics/1.png"), Path("/data/tables/1.png"), Path("/x.png"), Path("pics/a/1.png"), Path("1.png")]
)
def test_name_leads_from_the_folder_to_the_file(folder: Path, path: Path) -> None:
    assert relative_names([path], folder) == [Path(os.path.relpath(path, folder)).as_posix()]


def test_query_without_image_has_no_name() -> None:
    assert relative_names([None, Path("a/1.png"), None, Path("a/2.png")], Path("a")) == ["", "1.png", "", "2.png"]
