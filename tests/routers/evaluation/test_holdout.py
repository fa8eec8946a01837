"""The newest groups are held out, and none that the router in service knows."""

from __future__ import annotations

import numpy as np
import pytest

from routers.evaluation.holdout import hold_out

GROUPS = tuple(f"g{row // 2}" for row in range(40))
NOW = np.arange(40, dtype=np.float64)
NEVER = np.full(40, np.nan)
NONE = np.zeros(40, dtype=np.bool_)


def test_the_newest_groups_are_held_out() -> None:
    found = hold_out(GROUPS, NOW, NONE, share=0.2, seed=0)
    assert found.test.tolist() == list(range(32, 40))
    assert found.train.tolist() == list(range(32))
    assert (found.timed, found.leaked) == (8, 0)


def test_a_group_is_as_new_as_its_newest_query() -> None:
    times = NOW.copy()
    times[0] = 1000.0
    assert {0, 1} <= set(hold_out(GROUPS, times, NONE, share=0.1, seed=0).test.tolist())


def test_without_times_chance_decides_by_its_seed() -> None:
    one, again, other = (hold_out(GROUPS, NEVER, NONE, share=0.2, seed=seed).test.tolist() for seed in (1, 1, 2))
    assert one == again != other
    assert len(one) == 8
    assert {GROUPS[row] for row in one}.isdisjoint(GROUPS[row] for row in range(40) if row not in one)


def test_both_kinds_are_held_out_where_there_are_both() -> None:
    times = np.where(np.arange(40) < 20, np.nan, NOW)
    found = hold_out(GROUPS, times, NONE, share=0.2, seed=0)
    assert found.timed == 4
    assert len(found.test) == 8
    assert "4 the newest, 4 by chance" in found.said


def test_what_the_router_in_service_learned_from_is_not_held_out() -> None:
    known = np.zeros(40, dtype=np.bool_)
    known[20::2] = True  # one query of each of the newer groups
    found = hold_out(GROUPS, NOW, known, share=0.2, seed=0)
    assert found.test.tolist() == [16, 17, 18, 19]
    assert found.leaked == 0


def test_where_it_knows_everything_that_is_said() -> None:
    found = hold_out(GROUPS, NOW, np.ones(40, dtype=np.bool_), share=0.2, seed=0)
    assert found.leaked == 8
    assert "learned from 8 of them" in found.said


def test_one_group_is_too_few() -> None:
    with pytest.raises(ValueError, match="too few"):
        hold_out(("g",) * 4, NOW[:4], NONE[:4], share=0.2, seed=0)
