"""Held-out judgement: parts, baselines and their order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.algorithms.linear_mf import LinearMF
from routers.base import Forecast
from routers.evaluation.judge import BASELINES, Judgement, Policy, judge
from routers.evaluation.protocol import SharedSweep
from routers.registry import ALGORITHMS
from routers.train import Plan, Summary, evaluate
from tests.fakes.synthetic import drawn_table


def test_router_stands_between_the_best_single_and_the_oracle() -> None:
    table, views = drawn_table(groups=120)
    plan = Plan(parts={"drawn": np.arange(len(table))}, train=0.5, seeds=(0, 1, 2))
    told: list[tuple[int, int]] = []
    found = evaluate(LinearMF, table, views, plan, lambda done, total: told.append((done, total)))["drawn"]
    assert list(found) == [*BASELINES, "linear_mf"]
    means = {policy: summary.figures["nauc"][0] for policy, summary in found.items()}
    assert means["best_single"] < means["linear_mf"] < means["oracle"]
    assert found["linear_mf"].figures["log_loss"][0] < found["best_single"].figures["log_loss"][0]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_each_part_is_judged_among_the_candidates_it_observed() -> None:
    table, views = drawn_table(groups=80)
    score, tokens, cost = (values.copy() for _, values in table.numbers())
    for values in (score, tokens, cost):
        values[160:, 2:] = np.nan
    union = replace(table, score=score, output_tokens=tokens, cost_usd=cost)
    plan = Plan(parts={"wide": np.arange(160), "narrow": np.arange(160, 320)}, train=0.5, seeds=(0,))
    found = evaluate(LinearMF, union, views, plan)
    chance = found["narrow"]["random"].figures["accuracy"][0]
    assert chance == pytest.approx(score[160:, :2].mean(), abs=0.1)
    for policies in found.values():
        for policy in ("linear_mf", "oracle", "best_single"):
            assert np.isfinite(policies[policy].figures["nauc"][0])


def test_perfect_forecast_is_the_oracle() -> None:
    table, _ = drawn_table()
    perfect = Forecast(table.score, np.zeros_like(table.score), table.output_tokens, table.output_tokens)
    decided = SharedSweep().decide(perfect.quality, table.cost_usd, table)
    found = judge(Policy("perfect", decided, perfect), table, SharedSweep())
    assert found.accuracy == table.score.max(axis=1).mean()
    assert found.ece == 0
    assert found.token_coverage == 1


def test_summary_gives_mean_and_spread_of_each_figure() -> None:
    low, high = Judgement(0.4, 0.5, 1.0, 0.5), Judgement(0.6, 0.5, float("inf"), 0.5)
    figures = Summary.over([low, high]).figures
    assert figures["nauc"] == (pytest.approx(0.5), pytest.approx(0.02**0.5))
    assert figures["qnc"][0] == float("inf")
    assert np.isnan(figures["log_loss"][0])


def test_an_algorithm_of_a_baselines_name_stands_in_its_place() -> None:
    table, views = drawn_table(groups=20)
    plan = Plan(parts={"drawn": np.arange(len(table))}, train=0.5, seeds=(0, 1))
    found = evaluate(ALGORITHMS["best_single"], table, views, plan)["drawn"]
    assert list(found) == ["random", "oracle", "best_single"]
    assert np.isfinite(found["best_single"].figures["nauc"][1])
