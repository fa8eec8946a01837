"""The dashboards' files: made by their script, whole, and laid out without overlap."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.operations.test_metrics_page import on_the_page

from .boards import BOARDS, GRAFANA, METRIC, panels, targets

KINDS = {"timeseries", "stat", "bargauge", "table", "xychart"}
UNITS = {"currencyUSD", "percentunit", "s", "reqps", "short"}
SUFFIXES = re.compile(r"_(bucket|sum|count)$")


def test_the_committed_files_are_what_the_script_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, GRAFANA / "build.py", "--out", tmp_path], check=True)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in (GRAFANA / "dashboards").iterdir()}
    assert made == kept
    assert set(BOARDS) == {"loupe-spend-accuracy", "loupe-budgets", "loupe-health"}


@pytest.mark.parametrize("board", BOARDS)
def test_a_dashboard_is_whole(board: str) -> None:
    found = BOARDS[board]
    assert found["uid"] == board
    assert found["schemaVersion"] >= 39
    assert next(variable["name"] for variable in found["templating"]["list"]) == "tenant"
    ids = [panel["id"] for panel in found["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [(panel["title"], panel["type"]) for panel in panels(board)]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("board", BOARDS)
def test_every_panel_says_what_it_shows_and_in_what_unit(board: str) -> None:
    for panel in panels(board):
        assert panel["type"] in KINDS
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert panel["pluginVersion"] >= "11.1"
        assert panel["datasource"] == {"type": "prometheus", "uid": "loupe-prometheus"}
        assert panel["targets"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == sorted(set(refs))
        for target in panel["targets"]:
            assert target["expr"].count("(") == target["expr"].count(")")
            assert target["legendFormat"]
            assert target["instant"] != target["range"]
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["showLegend"]


@pytest.mark.parametrize("board", BOARDS)
def test_panels_lie_within_the_grid_and_beside_each_other(board: str) -> None:
    places = [panel["gridPos"] for panel in BOARDS[board]["panels"]]
    for place in places:
        assert place["x"] >= 0 < place["w"]
        assert place["x"] + place["w"] <= 24
    for one, other in combinations(places, 2):
        assert not (
            one["x"] < other["x"] + other["w"]
            and other["x"] < one["x"] + one["w"]
            and one["y"] < other["y"] + other["h"]
            and other["y"] < one["y"] + one["h"]
        ), (one, other)


def test_scatters_join_two_queries_by_the_name_of_a_point() -> None:
    scatters = [panel for panel in panels("loupe-spend-accuracy") if panel["type"] == "xychart"]
    assert len(scatters) == 2
    for panel in scatters:
        x, y = (target["legendFormat"] for target in panel["targets"])
        (series,) = panel["options"]["series"]
        assert (series["x"]["matcher"]["options"], series["y"]["matcher"]["options"]) == (x, y)
        renamed = panel["transformations"][1]["options"]["renameByName"]
        assert renamed == {"Value #A": x, "Value #B": y}
        assert all(target["format"] == "table" and "by (point)" in target["expr"] for target in panel["targets"])


def test_queries_name_metrics_of_the_page_and_counters_only_as_rates() -> None:
    page = on_the_page()
    for board, panel, target in targets():
        names = METRIC.findall(target["expr"])
        assert names, (board, panel["title"])
        for name in names:
            kind = page.get(name) or page[SUFFIXES.sub("", name)]
            if kind[0] != "gauge":
                assert re.search(rf"(rate|increase)\({name}\{{", target["expr"]), (board, panel["title"], name)
                assert len(re.findall(rf"\b{name}\b", target["expr"])) == len(
                    re.findall(rf"(?:rate|increase)\({name}\{{", target["expr"])
                )


def test_legends_name_labels_that_their_series_have() -> None:
    for board, panel, target in targets():
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            by = re.findall(r"by \(([^)]*)\)", target["expr"])
            grouped = {name.strip() for each in by for name in each.split(",")}
            page: set[str] = set()
            for name in METRIC.findall(target["expr"]):
                page |= on_the_page().get(name, ("", frozenset()))[1]
            assert label in (grouped or page) | page, (board, panel["title"], label)


def test_variables_are_of_labels_that_there_are() -> None:
    page = on_the_page()
    for board in BOARDS.values():
        for variable in board["templating"]["list"]:
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"])
            assert found is not None
            assert found[2] in page[found[1]][1]
            assert variable["query"]["query"] == variable["definition"]


def test_grafana_is_provisioned_with_the_source_and_the_folder_that_the_dashboards_name() -> None:
    sources = _yaml("provisioning/datasources/loupe.yaml")["datasources"]
    assert [(source["uid"], source["type"]) for source in sources] == [("loupe-prometheus", "prometheus")]
    (provider,) = _yaml("provisioning/dashboards/loupe.yaml")["providers"]
    compose = yaml.safe_load((GRAFANA.parent / "compose.yaml").read_text(encoding="utf-8"))
    mounts = dict(mount.split(":")[:2] for mount in compose["services"]["grafana"]["volumes"] if mount.startswith("./"))
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"


def _yaml(name: str) -> dict[str, Any]:
    found = yaml.safe_load((GRAFANA / name).read_text(encoding="utf-8"))
    assert found["apiVersion"] == 1
    return dict(found)
