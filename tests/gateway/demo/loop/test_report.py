"""The loop demo says what did not go as it must, and its JSON has the keys that were asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.loop.loop import LoopResult, LoopSettings
from gateway.demo.loop.report import as_json, as_text, problems
from gateway.demo.loop.table import LoopTable
from gateway.demo.loop.traffic import TrafficTally

ROUND = {
    "is_better": True,
    "promoted": True,
    "difference": 0.05,
    "low": 0.01,
    "cells": 900,
    "held_out_queries": 300,
    "holdout": "some",
}


def found(**changes: Any) -> LoopResult:
    tally = TrafficTally(labelled=600)
    tally.statuses[200] = 1000
    before = {"nauc": 0.7, "qnc": None, "peak_score": 0.7, "log_loss": 0.6}
    after = {"nauc": 0.78, "qnc": 0.4, "peak_score": 0.8, "log_loss": 0.5}
    one = LoopResult(
        table=LoopTable("t", Path(), ("a", "b"), (), (), ()),
        rounds=[ROUND],
        frontier={"before": before, "after": after, "held_out_queries": 200},
        bad={"difference": -0.1, "low": -0.2, "after": {"nauc": 0.6}},
        bad_was_refused=True,
        cells_before=256,
        tally=tally,
        promoted_under=90,
    )
    return replace(one, **changes)


def test_all_is_well_where_the_frontier_rose() -> None:
    assert problems(found()) == []
    wrote = as_json(found(), LoopSettings(), {"command": "x"})
    assert json.loads(json.dumps(wrote, allow_nan=False)) == wrote
    keys = ["nauc_before", "nauc_after", "qnc_before", "qnc_after", "cells_before", "cells_after"]
    keys.append("bad_artifact_refused")
    assert [wrote[key] for key in keys] == [0.7, 0.78, None, 0.4, 256, 900, True]
    text = as_text(found())
    assert "never" in text and "0.7800" in text and "PROBLEM" not in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bad_was_refused": False}, "shuffled labels was promoted"),
        ({"rounds": [{**ROUND, "promoted": False}]}, "nothing was promoted"),
        (
            {
                "frontier": {
                    "before": {"nauc": 0.7, "qnc": 0.3, "peak_score": 0.7, "log_loss": 0.6},
                    "after": {"nauc": 0.69, "qnc": None, "peak_score": 0.7, "log_loss": 0.6},
                }
            },
            "nAUC did not rise",
        ),
    ],
)
def test_what_did_not_go_as_it_must_is_said(changes: dict[str, Any], says: str) -> None:
    assert any(says in line for line in problems(found(**changes)))
    assert f"PROBLEM: {problems(found(**changes))[0]}" in as_text(found(**changes))


def test_a_dropped_request_is_a_problem() -> None:
    one = found()
    one.tally.statuses[502] = 1
    assert problems(one) == ["1 of 1001 requests were dropped: {200: 1000, 502: 1}"]
