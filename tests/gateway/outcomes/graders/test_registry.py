"""Graders by name, and what `auto` makes of an answer; patterns and schemas."""

from __future__ import annotations

import csv
import http.server
import json
import random
import threading
import urllib.request
from collections import Counter

import pytest

from gateway.outcomes.graders.base import BadReference, Reference
from gateway.outcomes.graders.json_schema import DEEPEST, MOST_COMBINED, JsonSchema, validator_of
from gateway.outcomes.graders.registry import GRADERS, grader_for, grader_named
from gateway.providers.replay.reply import right_answer, speak, wrong_answer
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
        *("exact/1", "numeric/1", "choice/1", "regex/1", "json_schema/2", "anls/1")
    }
    for bad in ("fuzzy", "auto", "numeric:x=1", "numeric:abs=-1", "numeric:abs=x", "exact:abs=1", "numeric:abs", ""):
        with pytest.raises(BadReference):
            grader_named(bad)


def test_a_pattern_is_searched_for() -> None:
    grader = grader_for("regex", Reference(r"^\d{4}-\d{2}$"))
    assert grader.grade("It was on\n2024-05\n", Reference(r"^\d{4}-\d{2}$")).score == 1.0
    assert grader.grade("It was on 2024-05", Reference(r"^\d{4}-\d{2}$")).score == 0.0
    with pytest.raises(BadReference, match="not a regular expression"):
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
        ("not valid JSON", 0.0),
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
        '{"minimun": 1}',
        '{"format": "date-time"}',
        '{"items": {"$id": "http://127.0.0.1/x"}}',
        '{"$ref": "http://127.0.0.1/schema.json"}',
        '{"$ref": "file:///etc/hostname"}',
        '{"$ref": "https://json-schema.org/draft/2020-12/schema"}',
        '{"$ref": "#"}',
        '{"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}',
        '{"$ref": "#/default", "default": {"type": "text"}}',
        '{"$defs": {"a": {"type": "text"}}}',
        '{"pattern": "a{99999999999}"}',
        '{"patternProperties": {"(": true}}',
        '{"maximum": 1e999}',
        '{"maximum": NaN}',
        "[" * 50_000,
    ],
)
def test_a_schema_that_would_leave_something_unchecked_is_refused(schema: str) -> None:
    with pytest.raises(BadReference):
        validator_of(schema)


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
        ({"multipleOf": 0.1}, [1e300, 12345678901234567890, 1e-300 * 0], [1e-300]),
        ({"pattern": "^b$"}, ["b"], ["a\nb"]),
        ({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}, [{"a": 1}], [{"a": "1"}]),
        ({"$ref": "#/definitions/n", "definitions": {"n": {"type": "integer"}}}, [1], ["1"]),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "$id": "urn:a", "const": 1}, [1, 1.0], [2, True]),
        ({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"type": "null"}}, ["ab", None], ["a", 1]),
        ({"uniqueItems": True}, [[1, True, "1"], [[1], [2]]], [[1, 1.0], [{"a": 1}, {"a": 1}]]),
        ({"contains": {"const": 1}, "minContains": 2, "maxContains": 3}, [[1, 1], [1, 1, 1, 0]], [[1], [1] * 4]),
        (
            {"patternProperties": {"^n_": {"type": "number"}}, "propertyNames": {"maxLength": 3}},
            [{"n_a": 1}],
            [{"n_a": "1"}, {"abcd": 1}],
        ),
        (
            {"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"b": {"required": ["c"]}}},
            [{"b": 1, "c": 1}],
            [{"a": 1}, {"b": 1}],
        ),
        ({"format": "date"}, ["2024-02-29", 1], ["2023-02-29", "soon"]),
    ],
)
def test_keywords_mean_what_the_standard_says(schema: object, good: list[object], bad: list[object]) -> None:
    grader, reference = JsonSchema(), Reference(json.dumps(schema))
    assert all(grader.grade(json.dumps(value), reference).score == 1.0 for value in good)
    assert not any(grader.grade(json.dumps(value), reference).score for value in bad)


def test_a_schema_may_be_as_large_and_as_deep_as_its_bounds_and_no_more() -> None:
    def combined(count: int) -> str:
        return json.dumps({"allOf": [True] * (count - 1)})

    def nested(depth: int) -> str:
        return '{"not":' * (depth - 1) + "true" + "}" * (depth - 1)

    assert validator_of(combined(MOST_COMBINED)).is_valid(1)
    assert validator_of(nested(DEEPEST)).is_valid(1) is (DEEPEST % 2 == 1)
    for schema in (combined(MOST_COMBINED + 1), nested(DEEPEST + 1), '{"title": "' + "x" * 20_000 + '"}'):
        with pytest.raises(BadReference):
            validator_of(schema)


def test_definitions_that_double_at_each_step_are_refused() -> None:
    steps = {f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(40)}
    with pytest.raises(BadReference, match="more than 500 schemas"):
        validator_of(json.dumps({"$defs": {**steps, "s40": True}, "$ref": "#/$defs/s0"}))


def test_a_reply_that_is_nested_deeper_than_any_answer_is_wrong() -> None:
    grader = JsonSchema()
    assert grader.grade("[" * (DEEPEST - 1) + "1" + "]" * (DEEPEST - 1), Reference("true")).score == 1.0
    assert grader.grade("[" * DEEPEST + "1" + "]" * DEEPEST, Reference("true")).score == 0.0


def test_no_reference_is_fetched() -> None:
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"true")

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/schema.json"
        try:
            urllib.request.urlopen(url).close()
            for schema in ({"$ref": url}, {"items": {"$ref": url}}, {"$id": url, "$ref": "#/$defs/a"}):
                with pytest.raises(BadReference, match="nothing else is fetched"):
                    validator_of(json.dumps(schema))
            assert validator_of(json.dumps({"$schema": url, "$id": url, "type": "integer"})).is_valid(1)
        finally:
            server.shutdown()
            thread.join()
    assert asked == ["/schema.json"], "the test's own"


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
