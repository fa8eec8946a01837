"""Graders by name, and what `auto` makes of an answer; patterns and schemas."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter

import pytest

from gateway.core.graders.base import BadReference, Reference
from gateway.core.graders.json_schema import is_valid, schema_of
from gateway.core.graders.registry import GRADERS, grader_for, grader_named
from gateway.replay.reply import right_answer, speak, wrong_answer
from tests.shared import SHARED_DATA, needs_shared_data


@pytest.mark.parametrize(
    ("answer", "question", "version"),
    [
        ("B", "x? (A) yes (B) no", "choice/1"),
        ("D", "Which node?", "choice/1"),
        ("42", "How many?", "numeric/1"),
        ("50%", "What share?", "numeric/1"),
        ("y = 4", "Which line?", "numeric/1"),
        ("Mar", "Which month?", "exact/1"),
        ("(2, 3)", "Where?", "exact/1"),
        ('["2", "two"]', "How many?", "numeric/1"),
        ('["2", "both"]', "How many?", "exact/1"),
        ("", "x?", None),
        ("E", "x? (A) yes (B) no", None),
    ],
)
def test_auto_goes_by_the_answer(answer: str, question: str, version: str | None) -> None:
    if version is None:
        with pytest.raises(BadReference):
            grader_for("auto", Reference(answer, question))
    else:
        assert grader_for("auto", Reference(answer, question)).version == version


def test_graders_are_told_what_they_take_and_nothing_else() -> None:
    assert grader_named("numeric:abs=0.5,rel=1/100").version == "numeric/1?abs=0.5,rel=0.01"
    assert grader_named("anls:threshold=0.7").version == "anls/1?threshold=0.7"
    assert {grader_named(name).version for name in GRADERS if name != "auto"} == {
        *("exact/1", "numeric/1", "choice/1", "regex/1", "json_schema/1", "anls/1")
    }
    for bad in ("fuzzy", "auto", "numeric:x=1", "numeric:abs=-1", "numeric:abs=x", "exact:abs=1", "numeric:abs", ""):
        with pytest.raises(BadReference):
            grader_named(bad)


def test_a_pattern_is_searched_for() -> None:
    grader = grader_for("regex", Reference(r"^\d{4}-\d{2}$"))
    assert grader.grade("It was on\n2024-05\n", Reference(r"^\d{4}-\d{2}$")).score == 1.0
    assert grader.grade("It was on 2024-05", Reference(r"^\d{4}-\d{2}$")).score == 0.0
    with pytest.raises(BadReference, match="no regular expression"):
        grader_for("regex", Reference("(open"))


SCHEMA = json.dumps(
    {
        "type": "object",
        "required": ["name", "items"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "minLength": 1, "pattern": "^[A-Z]"},
            "items": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
            "kind": {"enum": ["a", 1, None]},
        },
    }
)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"name": "Bolt", "items": [1, 2.0]}', 1.0),
        ('Here it is:\n```json\n{"name": "Bolt", "items": [1]}\n```\nDone.', 1.0),
        ('{"name": "Bolt", "items": [1], "kind": null}', 1.0),
        ('{"name": "bolt", "items": [1]}', 0.0),
        ('{"name": "Bolt", "items": []}', 0.0),
        ('{"name": "Bolt", "items": [true]}', 0.0),
        ('{"name": "Bolt", "items": [1.5]}', 0.0),
        ('{"name": "Bolt", "items": [1], "kind": true}', 0.0),
        ('{"name": "Bolt", "items": [1], "more": 1}', 0.0),
        ('{"name": "Bolt"}', 0.0),
        ('{"name": "Bolt", "items": [NaN]}', 0.0),
        ("[1]", 0.0),
        ("no JSON", 0.0),
        ("", 0.0),
        ("[" * 100_000, 0.0),
        ("9" * 10_000, 0.0),
    ],
)
def test_json_of_a_shape(reply: str, score: float) -> None:
    assert grader_for("json_schema", Reference(SCHEMA)).grade(reply, Reference(SCHEMA)).score == score


@pytest.mark.parametrize(
    "schema",
    [
        "{",
        "[]",
        '{"type": "text"}',
        '{"$ref": "#/x"}',
        '{"minimum": "1"}',
        '{"properties": []}',
        '{"properties": {"x": 1}}',
        '{"pattern": "("}',
        '{"oneOf": []}',
        '{"items": {"unevaluatedItems": false}}',
        '{"minLength": -1}',
        "[" * 50_000,
    ],
)
def test_a_schema_that_would_leave_something_unchecked_is_refused(schema: str) -> None:
    with pytest.raises(BadReference):
        schema_of(schema)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, [None, "x"], [1]),
        ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, [0, 9], [3]),
        ({"allOf": [{"minimum": 1}, {"maximum": 5}]}, [3], [0, 9]),
        ({"not": {"type": "string"}}, [1], ["x"]),
        ({"prefixItems": [{"type": "string"}], "items": {"type": "number"}}, [["x", 1], []], [[1], ["x", "y"]]),
        ({"contains": {"const": 1}}, [[0, 1], "x"], [[0], [True]]),
        ({"exclusiveMinimum": 0, "multipleOf": 0.1}, [0.3, "x"], [0, 0.35]),
        ({"minProperties": 1, "maxProperties": 1}, [{"a": 1}, 1], [{}, {"a": 1, "b": 2}]),
        ({"additionalProperties": {"type": "number"}, "properties": {"a": True}}, [{"a": "x", "b": 1}], [{"b": "x"}]),
        ({"type": ["integer", "null"], "title": "t"}, [1, 1.0, None], [1.5, True, "1"]),
        (False, [], [1, None]),
    ],
)
def test_keywords_mean_what_the_standard_says(schema: object, good: list[object], bad: list[object]) -> None:
    read = schema_of(json.dumps(schema))
    assert all(is_valid(value, read) for value in good)
    assert not any(is_valid(value, read) for value in bad)


@needs_shared_data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["DynaMath", "BlindTest"])
def test_graders_reproduce_recorded_scores_from_what_the_replay_says(name: str) -> None:
    """Over a tenth of all cells. BlindTest records no answers: there the replay invents them."""
    confusion: Counter[tuple[bool, bool]] = Counter()
    with (SHARED_DATA / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in random.Random(5).sample(rows, len(rows) // 10):
        reference = Reference(right_answer(row["answer"]), row["question"])
        grader = grader_for("auto", reference)
        for column in [column for column in row if column.endswith("_correct") and row[column]]:
            candidate, is_right = column.removesuffix("_correct"), float(row[column]) >= 0.5
            salt = f"{candidate}\n{row['dataset_idx']}"
            answer = right_answer(row["answer"]) if is_right else wrong_answer(row["answer"], salt)
            reply = speak(answer, round(float(row[f"{candidate}_token"])), None).text
            confusion[is_right, grader.grade(reply, reference).score == 1.0] += 1
    agreed = confusion[True, True] + confusion[False, False]
    print(f"\n{name}: recorded right, graded right: {dict(confusion)}")
    assert agreed >= 0.99 * confusion.total() > 1_000
    assert confusion[True, True] and confusion[False, False]
