"""The shipped router's training, rerun in one command: it judges, writes, and says what came of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.routing import default_router
from routers.artifact import load
from routers.table.numeric import load_offline


@pytest.mark.slow
def test_it_writes_a_router_of_the_bundled_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--out", str(tmp_path), "--router", "best_single", "--seeds", "1"]
    assert default_router.main(words) == 0
    router, printed = load(tmp_path), capsys.readouterr().out
    assert f"wrote {tmp_path}: {router.digest}" in printed
    assert "DynaMath best_single: nauc 0." in printed
    assert "BlindTest oracle: nauc 0." in printed
    offline = load_offline()
    assert router.encoder_digest == offline.encoder_digest
    assert set(router.candidates) == {name for data in offline.datasets for name in data.table.candidates}
