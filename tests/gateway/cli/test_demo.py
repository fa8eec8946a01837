"""`loupe demo` as a command, where it ends before it starts anything. The whole run is in
tests/e2e/operations/test_demo.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import main


@pytest.mark.parametrize("number", ["0", "19", "2001", "-5", "many", "60.5"])
def test_senseless_number_of_requests_is_refused_with_the_range(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--requests", number])
    assert ended.value.code == 2
    assert "is not a number from 20 to 2000" in capsys.readouterr().err


def test_folder_that_is_not_there_is_told_before_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--json", str(tmp_path / "gone" / "demo.json")]) == 1
    assert "its folder does not exist" in capsys.readouterr().err
