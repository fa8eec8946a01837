"""The bar says how much has come, and one line is enough where nobody watches."""

from __future__ import annotations

import pytest

from gateway.cli.progress import ByteBar, CellBar, bar, cells_bar


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [
        (0, 24_000_000, "f [------------------------] 0.0 of 24.0 MB"),
        (12_000_000, 24_000_000, "f [############------------] 12.0 of 24.0 MB"),
        (24_000_000, 24_000_000, "f [########################] 24.0 of 24.0 MB"),
        (3_450_000, None, "f 3.5 MB"),
        (0, 0, "f 0.0 MB"),
    ],
)
def test_bar_shows_the_share_where_the_whole_is_known(done: int, total: int | None, shown: str) -> None:
    assert bar("f", done, total) == shown


def test_without_a_terminal_only_the_end_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show = ByteBar()
    for done in (1_000_000, 2_000_000, 4_000_000):
        show("f", done, 4_000_000)
    assert capsys.readouterr().err == "f [########################] 4.0 of 4.0 MB\n"


@pytest.mark.parametrize(
    ("done", "total", "passed_s", "shown"),
    [
        (0, 24, 1.0, "asking [------------------------] 0 of 24 cells"),
        (12, 24, 65.0, "asking [############------------] 12 of 24 cells, 1:05 left"),
        (24, 24, 9.0, "asking [########################] 24 of 24 cells"),
        (0, 0, 0.0, "asking [########################] 0 of 0 cells"),
    ],
)
def test_cells_are_counted_and_the_rest_is_estimated(done: int, total: int, passed_s: float, shown: str) -> None:
    assert cells_bar(done, total, passed_s) == shown


def test_cells_are_said_once_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    show = CellBar(2)
    show(1, "0.1", 0)
    show(2, "0.2", 3)
    show.end()
    assert capsys.readouterr().err == "asking [########################] 2 of 2 cells, 0.2 USD, 3 retried\n"
