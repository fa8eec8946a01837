"""Training from end to end on drawn tables, and the names of algorithms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from routers.algorithms.linear_mf import LinearMF
from routers.artifact import HEADER, load
from routers.table.outcome_table import TableError
from routers.train import EncoderName, Plan, find_algorithm, train
from tests.fakes.synthetic import drawn_table


def test_training_writes_a_router_with_its_held_out_figures(tmp_path: Path) -> None:
    table, views = drawn_table()
    plan = Plan(parts={"drawn": np.arange(len(table))}, train=0.5, seeds=(0, 1))
    training = train(LinearMF, (table, views), EncoderName("drawn", "d" * 64), plan, tmp_path / "out")
    header = json.loads((tmp_path / "out" / HEADER).read_text())
    assert header["table_sha256"] == table.digest
    assert header["metrics"]["train_share"] == 0.5
    mean, spread = header["metrics"]["held_out"]["drawn"]["linear_mf"]["nauc"]
    assert mean == pytest.approx(training.judged["drawn"]["linear_mf"].figures["nauc"][0], abs=1e-4)
    assert spread >= 0
    assert load(tmp_path / "out").digest == training.digest


def test_views_of_other_queries_are_refused(tmp_path: Path) -> None:
    table, views = drawn_table()
    plan = Plan(parts={"drawn": np.arange(len(table))})
    with pytest.raises(TableError, match="rows for 240 queries"):
        train(LinearMF, (table, {"text": views["text"][:5]}), EncoderName("drawn", ""), plan, tmp_path)


def test_unknown_algorithm_is_refused_with_those_there_are() -> None:
    assert find_algorithm("linear_mf") is LinearMF
    with pytest.raises(ValueError, match=r"unknown router 'tarot'; known: .*linear_mf"):
        find_algorithm("tarot")
