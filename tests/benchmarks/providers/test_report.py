"""The judgement of a run: each law, once kept and once broken, on books written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.providers.client import Answer
from benchmarks.providers.gateway import Charged
from benchmarks.providers.report import Run, in_markdown, report
from benchmarks.providers.requests import Mixed

BODY = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}
ASKED = Mixed(0, "text", BODY, "0.001", False, None, "0.5")
SERVED = Answer(ASKED, 200, "r", "openai", "routed", 10.0, 11.0, "", "")
BILL = {"id": "r", "provider": "openai", "nanodollars": 100, "told": True}
ROW = Charged("r", "ok", 100, False, 10, 5, "[]")


def run(answer: Answer = SERVED, *, cost: int = 100, bill: dict[str, Any] | None = None, **books: Any) -> Run:
    found = {"served": [{**BILL, **(bill or {})}], "refused": [], "failed": [], "resting": [], **books}
    return Run([answer], found, {"r": replace(ROW, cost=cost)}, cost, 0)


def test_all_laws_hold_for_a_reply_that_is_charged_its_bill() -> None:
    found = report(run())
    assert found["holds"]
    assert in_markdown(found).endswith("All laws hold.")


def test_a_charge_that_is_one_nanodollar_off_breaks_a_law() -> None:
    found = report(run(cost=101))
    assert [each["number"] for each in found["broken"]["billed"]] == [0]
    assert not found["holds"]


@pytest.mark.parametrize(("cost", "holds"), [(104, True), (106, False)])
def test_a_bill_without_usage_is_met_within_five_percent(cost: int, holds: bool) -> None:
    assert report(run(cost=cost, bill={"told": False}))["holds"] is holds


def test_a_charge_over_the_cap_breaks_a_law() -> None:
    found = report(run(cost=2_000_000, bill={"nanodollars": 2_000_000}))
    assert [each["number"] for each in found["broken"]["capped"]] == [0]


def test_a_refusal_although_a_provider_could_serve_breaks_a_law() -> None:
    found = report(run(replace(SERVED, status=400), cost=0, served=[]))
    assert "openai" in found["broken"]["served"][0]["able"]


@pytest.mark.parametrize(
    "books",
    [
        {"failed": [("r", "gemini", "503")]},
        {"resting": [("gemini", 9.0, 10.2)]},
        {"resting": [("gemini", 10.9, 12.0)]},
    ],
)
def test_a_provider_that_failed_or_rested_meanwhile_could_not_serve(books: dict[str, Any]) -> None:
    only = replace(ASKED, allowed=("gemini",))
    found = report(run(replace(SERVED, request=only, status=502), cost=0, served=[], **books))
    assert found["broken"]["served"] == []


def test_a_refusal_under_a_tight_cap_is_excused() -> None:
    tight = replace(ASKED, is_tight=True)
    assert report(run(replace(SERVED, request=tight, status=402), cost=0, served=[]))["holds"]
