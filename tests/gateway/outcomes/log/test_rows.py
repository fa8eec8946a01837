"""What a row holds is what was decided: every candidate, its forecast, its price, its odds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.outcomes.log.rows import (
    CANDIDATE_FIELDS,
    DECISION_COLUMNS,
    QueryRow,
    candidates_of,
    decision_row,
    how_decided,
    key_of,
)
from gateway.outcomes.log.schema import DECISIONS
from gateway.pipeline.record import Attempt
from gateway.routing.exploration import explore
from gateway.stores.sqlite.schema import columns_of
from gateway.tenants.policy import ExplorationSettings
from tests.gateway.outcomes.log.made import FORECASTS, decided, drawn, full


def row_of(**changes: Any) -> dict[str, Any]:
    row = dict(zip(DECISION_COLUMNS, decision_row(full(**changes), b"k"), strict=True))
    row["candidates"] = [dict(zip(CANDIDATE_FIELDS, each, strict=True)) for each in candidates_of(row["candidates"])]
    return row


def test_a_row_has_a_value_for_every_column_of_its_table() -> None:
    columns = columns_of(DECISIONS)
    assert set(DECISION_COLUMNS) == set(columns["decisions"])
    assert set(QueryRow._fields) == set(columns["queries"])
    assert len(decision_row(full(), None)) == len(DECISION_COLUMNS)


def test_every_candidate_stands_with_its_forecast_and_its_prices() -> None:
    decision = full().decision
    assert decision is not None
    found = {each["candidate"]: each for each in row_of()["candidates"]}
    assert list(found) == ["large", "small", "blind"]  # ranked, those that were dropped behind
    for assessed in (*decision.choices, *decision.dropped):
        name = assessed.candidate.name
        assert found[name]["quality"] == FORECASTS[name].quality
        assert found[name]["quality_std"] == FORECASTS[name].quality_std
        assert found[name]["output_tokens"] == FORECASTS[name].output_tokens
        assert found[name]["output_tokens_high"] == FORECASTS[name].output_tokens_high
        assert found[name]["expected_cost_nanousd"] == assessed.expected_cost
        assert found[name]["worst_cost_nanousd"] == assessed.max_cost >= assessed.expected_cost
        assert found[name]["score"] == assessed.score
    assert [found[name]["dropped"] for name in found] == [None, None, "sees_no_images"]


def test_without_a_draw_the_best_had_all_of_the_odds() -> None:
    row = row_of()
    assert (row["decided"], row["first_choice"], row["propensity"], row["uniform"]) == (
        "determined",
        "large",
        1.0,
        None,
    )
    assert [each["propensity"] for each in row["candidates"]] == [1.0, 0.0, 0.0]


def test_a_draw_is_kept_with_all_that_it_takes_to_draw_again() -> None:
    decision = full().decision
    assert decision is not None
    explored, exploration = explore(decision, ExplorationSettings(rate=0.5, slack=1.0), 10**15, 0.999)
    assert exploration is not None and exploration.candidate == "small"
    row = row_of(decision=explored, exploration=exploration, propensity=explored.propensity, candidate="small")
    assert (row["decided"], row["first_choice"], row["best"], row["uniform"]) == ("drawn", "small", "large", 0.999)
    assert row["propensity"] == dict(exploration.propensities)["small"] == explored.propensity
    found = {each["candidate"]: each["propensity"] for each in row["candidates"]}
    assert found == {**dict(exploration.propensities), "blind": 0.0}


@pytest.mark.parametrize(
    ("reason", "expected"), [("pinned", "pinned"), ("declined:encoder_timeout;fallback=a:timeout", "declined")]
)
def test_what_no_policy_decided_has_no_propensity(reason: str, expected: str) -> None:
    query = full().query
    assert query is not None
    row = row_of(reason=reason, decision=decided(query, routed=False))
    assert (row["decided"], row["propensity"]) == (expected, None)
    assert {each["propensity"] for each in row["candidates"]} == {None}
    assert {each["quality"] for each in row["candidates"]} == {None}


def test_a_draw_that_did_not_serve_keeps_the_odds_of_all_and_none_of_its_own() -> None:
    for changes in ({"candidate": "small"}, {"candidate": None}, {"propensity": 0.0}):
        row = row_of(exploration=drawn("large", "small", 0.2), **changes)
        assert (row["decided"], row["first_choice"], row["propensity"]) == ("drawn", "large", None)
    assert [each["propensity"] for each in row["candidates"]] == [0.8, 0.2, 0.0]


def test_hashes_window_and_attempts_are_kept() -> None:
    row = row_of(
        attempts=(Attempt("small", "timeout", 5), Attempt("large", None, 10)), exceeded=("usd/day", "usd/week")
    )
    assert (row["encoder_digest"], row["prices_digest"]) == ("encoder-1", "prices-1")
    assert (row["configuration_digest"], row["router_digest"]) == ("configuration-1", "abc")
    assert (row["remaining_nanousd"], row["exceeded"], row["finish_reason"]) == (5_000_000, "usd/day,usd/week", "stop")
    assert json.loads(row["attempts"]) == [["small", "timeout", 5], ["large", None, 10]]
    assert (row["first_byte_ms"], row["total_ms"], row["encode_ms"], row["overhead_ms"]) == (100, 500, 4, 10)


def test_a_drawn_record_says_so() -> None:
    assert how_decided(full(exploration=drawn("large", "small", 0.1))) == "drawn"
    assert how_decided(full(exploration=drawn("large", "small", 0.1), reason="pinned")) == "pinned"


def test_keys_tell_text_images_and_their_sizes_apart() -> None:
    alike = full(1), full(2)
    others = full(3, "how much?"), full(4, pictures=()), full(5, pictures=(b"\x89PNG another",))
    keys = [key_of(one.query, one.sources) for one in (*alike, *others) if one.query is not None]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4
    assert all(len(key) == 16 for key in keys)
