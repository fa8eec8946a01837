"""`loupe bench` as a reader calls it: the bundled tables, tables on disk, and what cannot be judged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.cli.routers.bench import UNASKED
from routers.registry import ALGORITHMS, DEFAULT
from routers.table.mmr_csv import write_mmr_csv
from tests.fakes.synthetic import drawn_table


def written_table(folder: Path, name: str = "drawn.csv", seed: int = 0) -> Path:
    table, _ = drawn_table(groups=12, missing=0.1, seed=seed)
    table = replace(
        table,
        query_ids=tuple(f"{name}-{query_id}" for query_id in table.query_ids),
        groups=tuple(f"{name}-{group}" for group in table.groups),
    )
    write_mmr_csv(table, folder / name)
    return folder / name


def bench(*words: str | Path, router: str = "linear_mf") -> int:
    return main(
        ["bench", *map(str, words), "--routers", router, "--train", "0.5", "--seeds", "2", "--replicates", "10"]
    )


def results(path: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))
    return {(row["table"], row["router"], row["view"]): row for row in found["results"]}


@pytest.mark.slow
def test_each_table_is_judged_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = written_table(tmp_path), written_table(tmp_path, "more.csv", seed=1)
    out, plots = tmp_path / "out.json", tmp_path / "plots"
    words = ("--table", one, "--table", two, "--views", "both,text", "--json", out, "--plots", plots, "--jobs", "1")
    assert bench(*words) == 0
    printed = capsys.readouterr()
    assert "drawn (48 x 4), more (48 x 4)" in printed.out
    assert "learned from 50% of groups" in printed.out
    assert "[12/12] more linear_mf text seed 1" in printed.err
    baselines = [(name, "none") for name in ("random", "best_single", "oracle")]
    routers = [*baselines, ("linear_mf", "both"), ("linear_mf", "text")]
    assert list(results(out)) == [(table, *router) for table in ("drawn", "more") for router in routers]
    whole = json.loads(out.read_text(encoding="utf-8"))
    assert whole["protocol"] == "shared"
    assert whole["tables"] == ["drawn", "more"]
    assert whole["seeds"] == [0, 1]
    assert set(whole["versions"]) == {"python", "loupe-gateway", "numpy", "scikit-learn"}
    for row in whole["results"]:
        low, high = row["nauc_ci"]
        assert low <= high
        assert 0 <= row["nauc"] <= 1
    assert sorted(path.name for path in plots.iterdir()) == ["frontier-drawn.png", "frontier-more.png", "report.html"]


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, kept = written_table(tmp_path), tmp_path / "kept.npz"
    for jobs in ("1", "2"):
        words = ("--table", table, "--embeddings", kept, "--json", tmp_path / f"{jobs}.json", "--jobs", jobs)
        assert bench(*words, "--protocol", "paper") == 0
    capsys.readouterr()
    one, two = results(tmp_path / "1.json"), results(tmp_path / "2.json")
    assert one.keys() == two.keys()
    for key, row in one.items():
        for name, value in row.items():
            if name not in ("fit_s", "predict_us_per_query"):
                assert two[key][name] == pytest.approx(value, nan_ok=True), (key, name)


@pytest.mark.slow
@pytest.mark.parametrize("left_out", [False, True], ids=["--test", "--leave-out"])
def test_a_table_that_was_not_learned_from_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left_out: bool
) -> None:
    one, two = written_table(tmp_path), written_table(tmp_path, "more.csv", seed=1)
    words = ("--table", two, "--leave-out", "more") if left_out else ("--test", two)
    out = tmp_path / "out.json"
    assert bench("--table", one, *words, "--text-only", "--json", out, "--jobs", "1") == 0
    printed = capsys.readouterr().out
    assert "more, learned from drawn" in printed
    assert "learned from all rows of the other tables" in printed
    assert "test rows without images" in printed
    found = results(out)
    assert {table for table, _, _ in found} == {"more"}
    assert found["more", "linear_mf", "both"]["learned_from"] == ["drawn"]


@pytest.mark.slow
def test_without_arguments_it_judges_what_loupe_carries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    assert main(["bench", "--routers", "linear_mf", "--seeds", "1", "--replicates", "5", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "DynaMath (3450 x 14), BlindTest (7290 x 4)" in printed
    assert "tokens and costs are simulated" in printed
    found = results(out)
    for table, least in (("DynaMath", 0.57), ("BlindTest", 0.77)):
        best_single, routed = (
            found[table, name, view] for name, view in (("best_single", "none"), ("linear_mf", "both"))
        )
        assert routed["nauc"] > max(least, best_single["nauc"])
        assert routed["nauc"] < found[table, "oracle", "none"]["nauc"]
        assert routed["logloss"] < best_single["logloss"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--table", "gone.csv"], "gone.csv: No such file"),
        (["--table", "drawn.csv", "--routers", "linear_mf,tarot"], "--routers: unknown name 'tarot'; known: "),
        (["--views", "smell"], "--views: unknown name 'smell'; known: both, image, text"),
        (["--table", "drawn.csv", "--encoder", "tea-leaves"], "tea-leaves"),
        (["--table", "drawn.csv", "--table", "drawn.csv"], "two tables are called 'drawn'"),
        (["--seeds", "0"], "--seeds is 0; it is 1 or more"),
        (["--jobs", "0"], "--jobs is 0; it is 1 or more"),
        (["--replicates", "-1"], "--replicates is -1; it is 0 or more"),
        (["--train", "1"], "--train is 1; it lies between 0 and 1"),
        (["--test", "drawn.csv"], "--test needs a --table to learn from"),
        (["--table", "drawn.csv", "--test", "drawn.csv", "--leave-out", "drawn"], "give one"),
        (["--leave-out", "tea"], "--leave-out tea: the tables are DynaMath, BlindTest"),
        (["--json", "nowhere/out.json"], "--json: the folder nowhere does not exist"),
        (["--json", "."], "--json: . is a folder"),
        (["--plots", "drawn.csv"], "--plots: drawn.csv is not a folder"),
        (["--table", "bare.csv"], "bare"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    written_table(tmp_path)
    (tmp_path / "bare.csv").write_text("dataset_idx,question,a_correct\n")
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words]) == 1
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_what_is_judged_unasked_is_there_and_holds_what_is_shipped() -> None:
    assert set(UNASKED) <= set(ALGORITHMS)
    assert UNASKED[0] == DEFAULT
    assert not {"mlp", "mlp_mf", "cross_attention"} & set(UNASKED), "the paper's networks are judged when asked for"


def test_help_names_every_router(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--help"])
    assert ended.value.code == 0
    printed = "".join(capsys.readouterr().out.split())
    for name in ALGORITHMS:
        assert name in printed
