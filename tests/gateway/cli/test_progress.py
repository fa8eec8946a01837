"""The bar says how much has come, and one line is enough where nobody watches."""

from __future__ import annotations

import pytest

from gateway.cli.progress import ByteBar, bar


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
