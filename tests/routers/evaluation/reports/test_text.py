"""The report: means over seeds, what is not finite, and drawings that hold together."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from routers.evaluation.bench import (
    CURVE_POINTS,
    BenchBlock,
    JudgeSettings,
    PolicyResult,
    Task,
    run_task,
    tasks,
    within,
)
from routers.evaluation.bootstrap import FIGURES
from routers.evaluation.judge import Judgement
from routers.evaluation.protocol import SharedSweep
from routers.evaluation.reports.html import as_page
from routers.evaluation.reports.plots import PALETTE, drawn, frontier_png, frontier_svg
from routers.evaluation.reports.text import Row, as_json, as_markdown, as_text, notes, ranked, rows
from routers.registry import DEFAULT
from tests.routers.evaluation.test_bench import Part

SEEDS = 4


@pytest.fixture(scope="module")
def block() -> BenchBlock:
    return within(Part("drawn").drawn(), 0.5, range(SEEDS))


@pytest.fixture(scope="module")
def found(block: BenchBlock) -> list[Row]:
    judging = JudgeSettings((SharedSweep(),), replicates=20)
    wanted = tasks([block], ["linear_mf"], ["both", "text"])
    return rows([block], [judged for task in wanted for judged in run_task(block, task, judging)])


def judged(policy: str, seed: int, nauc: float, **more: float) -> PolicyResult:
    return PolicyResult(
        task=Task(0, policy, "both", seed),
        protocol="shared",
        policy=policy,
        judgement=Judgement(**({"nauc": nauc, "peak_score": 0.5, "qnc": 1.0, "accuracy": 0.5} | more)),
        replicates=np.full((10, len(FIGURES)), nauc) + np.arange(10)[:, None] / 100,
        curve=np.full(CURVE_POINTS, nauc),
        fit_s=2.0 * seed,
        predict_us=3.0,
    )


def test_rows_are_means_over_seeds(block: BenchBlock) -> None:
    (row,) = rows([block], [judged("a", seed, 0.4 + seed / 10) for seed in range(3)])
    figure = row.figures["nauc"]
    assert (figure.mean, figure.spread) == (pytest.approx(0.5), pytest.approx(0.1))
    assert (figure.low, figure.high) == (pytest.approx(0.5), pytest.approx(0.59))
    assert row.fit_s == 2
    assert row.curve[0] == pytest.approx(0.5)
    assert not row.is_default


@pytest.mark.slow
def test_the_shipped_router_is_marked_where_it_sees_everything(found: list[Row]) -> None:
    objects = {(row["router"], row["view"]): row for row in as_json(found)}
    assert [key for key, row in objects.items() if row["default"]] == (
        [(DEFAULT, "both")] if (DEFAULT, "both") in objects else []
    )
    assert set(objects) == {
        ("random", "none"),
        ("best_single", "none"),
        ("oracle", "none"),
        ("linear_mf", "both"),
        ("linear_mf", "text"),
    }


def test_json_says_null_where_nothing_finite_is_and_why(block: BenchBlock) -> None:
    of_seeds = [judged("a", 0, 0.4, qnc=float("inf")), judged("a", 1, 0.4), judged("oracle", 0, 0.9)]
    one, oracle = as_json(rows([block], of_seeds))
    json.dumps([one, oracle], allow_nan=False)
    assert one["qnc"] is None
    assert (one["qnc_reached"], one["qnc_where_reached"]) == (0.5, 1.0)
    assert "not reached in 50% of the seeds (1.000 in the others)" in one["note"]
    assert oracle["logloss"] is None
    assert "log_loss, ece: no meaning" in oracle["note"]
    assert one["nauc"] == 0.4
    for name in (
        "table",
        "router",
        "view",
        "nauc_ci",
        "peak_score",
        "accuracy",
        "ece",
        "fit_s",
        "predict_us_per_query",
    ):
        assert name in one


def test_a_problem_is_told(block: BenchBlock) -> None:
    nothing = float("nan")
    failed = PolicyResult(
        Task(0, "a", "both", 0),
        "shared",
        "a",
        Judgement(nothing, nothing, nothing, nothing),
        np.full((10, len(FIGURES)), nothing),
        np.full(CURVE_POINTS, nothing),
        problem="ValueError: no",
    )
    (row,) = rows([block], [failed])
    assert notes(row) == ["ValueError: no"]
    assert as_json([row])[0]["note"] == "ValueError: no"
    assert ranked([row, *rows([block], [judged("b", 0, 0.1)])], "drawn")[-1] is row


def test_the_table_is_ranked_and_aligned(found: list[Row]) -> None:
    lines = as_text(found, "drawn").splitlines()
    assert lines[0].split()[:3] == ["router", "view", "nAUC"]
    assert "oracle" in lines[1]
    scores = [row.figures["nauc"].mean for row in ranked(found, "drawn")]
    assert scores == sorted(scores, reverse=True)
    starts = {line.index(row.view) for line, row in zip(lines[1:], ranked(found, "drawn"), strict=True)}
    assert len(starts) == 1
    assert as_text(found, "another").count("\n") == 0


def test_markdown_has_a_cell_for_every_heading(found: list[Row]) -> None:
    lines = as_markdown(found, "drawn").splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + len(found)


def test_the_best_and_the_shipped_get_a_colour_each(block: BenchBlock) -> None:
    many = [judged(f"router{place}", 0, 0.9 - place / 100) for place in range(12)]
    coloured, rest = drawn(rows([block], [*many, judged(DEFAULT, 0, 0.1), judged("oracle", 0, 0.99)]), "drawn")
    assert len(coloured) == len(PALETTE)
    assert coloured[-1].router == DEFAULT
    assert coloured[0].router == "router0"
    assert len(rest) == 12 + 1 - len(PALETTE)
    assert "oracle" not in {row.router for row in [*coloured, *rest]}


@pytest.mark.slow
def test_drawings_are_whole_and_the_same_every_time(block: BenchBlock, found: list[Row]) -> None:
    picture = frontier_png(found, block)
    assert picture.startswith(b"\x89PNG") and picture.rstrip().endswith(b"IEND\xaeB`\x82")
    assert frontier_png(found, block) == picture
    drawing = frontier_svg(found, block)
    root = ElementTree.fromstring(drawing)
    assert root.tag.endswith("svg")
    assert frontier_svg(found, block) == drawing


@pytest.mark.slow
def test_the_page_stands_alone(block: BenchBlock, found: list[Row]) -> None:
    page = as_page(found, [block], {"command": "loupe bench <odd & words>"})
    reader = References()
    reader.feed(page)
    assert reader.open == []
    assert all(target.startswith("#") for target in reader.targets)
    assert reader.tags.count("svg") == 1
    assert reader.tags.count("tr") == 1 + len(found)
    assert "&lt;odd &amp; words&gt;" in page
    for row in found:
        assert row.router in page


class References(HTMLParser):
    """Gathers what a page refers to, and which elements were left open."""

    VOID = ("meta", "path", "use", "br", "img", "link")

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
