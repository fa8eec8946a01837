"""The benchmark of routing quality on small tables: what it writes and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.routing import quality as routing_quality
from routers.table.numeric import load_offline
from tests.gateway.cli.routers.test_bench import written_table


@pytest.mark.slow
def test_it_reports_every_section_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = [str(written_table(tmp_path, name, seed)) for seed, name in enumerate(("one.csv", "two.csv"))]
    words = [word for table in tables for word in ("--table", table)]
    out, page = tmp_path / "out.json", tmp_path / "page.md"
    page.write_text("# Benchmarks\n")
    words += ["--routers", "linear_mf", "--seeds", "1", "--replicates", "2", "--jobs", "1", "--train", "0.5"]
    assert routing_quality.main([*words, "--json", str(out), "--markdown", str(page)]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() in page.read_text()
    assert page.read_text().startswith("# Benchmarks\n")
    found = json.loads(out.read_text())
    assert found["command"].startswith("python -m benchmarks.routing.quality --table")
    sections = {(row["section"], row["table"], row["router"], row["view"], row["protocol"]) for row in found["results"]}
    assert ("Every router on both views", "one", "linear_mf", "both", "paper") in sections
    assert ("What each view is worth", "two", "linear_mf", "image", "shared") in sections
    crossed = [row for row in found["results"] if row["section"].startswith("Learned from another")]
    assert {(row["table"], *row["learned_from"]) for row in crossed} == {("one", "two"), ("two", "one")}
    assert "**two**, learned from one (shared protocol)" in printed
    assert len(sections) == len(found["results"])


@pytest.mark.slow
def test_it_rebuilds_the_offline_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(written_table(tmp_path))
    assert routing_quality.main(["--table", table, "--rebuild-offline", str(tmp_path / "offline")]) == 0
    assert "wrote" in capsys.readouterr().out
    (data,) = load_offline(tmp_path / "offline").datasets
    assert (data.name, data.table.score.shape) == ("drawn", (48, 4))
    assert data.image_views == {"image", "image_features"}
    assert routing_quality.main(["--rebuild-offline"]) == 2
    assert "needs the tables" in capsys.readouterr().err
