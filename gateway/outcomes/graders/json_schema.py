"""The grader for JSON of a given form: the known answer is a JSON schema, checked by the package `jsonschema` (extra
`grade`).

Anybody may have written schemas and replies, so their size and depth are limited before the package sees them. Of draft
2020-12 (whatever `$schema` says) a schema may use the keywords below; any other is refused when the data set is read,
so that nothing is ever left unchecked. A `$ref` leads to the schema's own `$defs`; nothing is ever fetched.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from gateway.errors import ConfigError
from gateway.outcomes.graders.base import BadReference, Grade, Reference
from gateway.outcomes.graders.plain_text import LONGEST_REPLY

LONGEST_SCHEMA = 20_000
"""The most characters of a schema."""
DEEPEST = 64
"""The most levels of JSON within JSON, and of schemas within schemas."""
MOST_COMBINED = 500
"""The most sub-schemas of a schema; sub-schemas behind a `$ref` count each time. Checking a reply takes its length
times this.
"""
FORMATS = ("date", "email", "ipv4", "ipv6", "uuid")
"""The values of `format` that are allowed: they are checked identically whatever else is installed."""
_FENCED = re.compile(r"```(?:json)?[^\n]{0,20}\n(.{0,20000}?)```", re.DOTALL | re.IGNORECASE)
_DEFINED = re.compile(r"#/(\$defs|definitions)/([^/~%]+)")
_DROPPED = ("$schema", "$id")
_ANNOTATIONS = frozenset({"$comment", "title", "description", "default", "examples", "deprecated"})
_KEYWORDS = _ANNOTATIONS | {
    *("$ref", "$defs", "definitions", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
    *("type", "enum", "const", "format", "pattern", "minLength", "maxLength"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("items", "prefixItems", "contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems"),
    *("properties", "patternProperties", "additionalProperties", "propertyNames", "minProperties", "maxProperties"),
    *("required", "dependentRequired", "dependentSchemas"),
}


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """A grader: right if the reply, or its last block of code, is JSON that the schema allows.

    The time of a check also depends on the schema's patterns: some never end. The caller sets a time limit.
    """

    version: str = "json_schema/2"

    def check(self, reference: Reference) -> None:
        """Raise BadReference for a schema that cannot be used, and ConfigError if `jsonschema` is not installed."""
        validator_of(reference.answer)

    def grade(self, reply: str, reference: Reference) -> Grade:
        validator = validator_of(reference.answer)
        found = _json_in(reply)
        if found is None:
            return Grade(0.0)
        text, value = found
        return Grade(float(validator.is_valid(value)), text[:200])


@lru_cache(256)
def validator_of(text: str) -> Any:
    """Return the `jsonschema` validator of a schema. Raises BadReference, and ConfigError without the package."""
    if len(text) > LONGEST_SCHEMA:
        raise BadReference(f"the schema has {len(text):,} characters; at most {LONGEST_SCHEMA:,} are accepted")
    try:
        schema = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise BadReference(f"the schema is not valid JSON: {error}") from None
    if isinstance(schema, dict):
        schema = {name: told for name, told in schema.items() if name not in _DROPPED}
    jsonschema, referencing = _packages()
    validator = jsonschema.Draft202012Validator
    try:
        validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise BadReference(f"schema{error.json_path[1:]}: {error.message[:200]}") from None
    except (RecursionError, OverflowError) as error:
        raise BadReference(f"the schema cannot be checked: {error}") from None
    _refuse_unchecked(schema, referencing.jsonschema.DRAFT202012.subresources_of)
    # An empty registry, because the package's default registry would fetch what a `$ref` names.
    return validator(schema, format_checker=jsonschema.FormatChecker(FORMATS), registry=referencing.Registry())


def _packages() -> tuple[Any, Any]:
    """Return the packages `jsonschema` and `referencing`. Raises ConfigError, which says how to install them."""
    try:
        import jsonschema  # noqa: PLC0415  # an extra
        import referencing.jsonschema  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("the json_schema grader needs jsonschema: pip install 'loupe-gateway[grade]'") from error
    return jsonschema, referencing


def _refuse_unchecked(schema: Any, parts_of: Callable[[Any], Iterable[Any]]) -> None:
    """Raise BadReference for an unknown keyword, or too many schemas, including the schemas behind each `$ref`."""
    waiting, count = [(schema, 1)], 0
    while waiting:
        part, depth = waiting.pop()
        count += 1
        if depth > DEEPEST or count > MOST_COMBINED:
            raise BadReference(
                f"the schema is made of more than {MOST_COMBINED} schemas or of more than {DEEPEST} within each other, "
                "or a $ref leads back to itself"
            )
        if isinstance(part, bool):
            continue
        _refuse_unknown(part)
        inner = [*parts_of(part), *([_referred(part["$ref"], schema)] if "$ref" in part else [])]
        waiting.extend((each, depth + 1) for each in inner)


def _refuse_unknown(part: Mapping[str, Any]) -> None:
    for name in part:
        if name not in _KEYWORDS:
            raise BadReference(f"the schema's keyword {name[:60]!r} is not known here, so it would be left unchecked")
    if part.get("format", FORMATS[0]) not in FORMATS:
        raise BadReference(f"the schema's format {part['format'][:60]!r} is not known; known: {', '.join(FORMATS)}")


def _referred(reference: str, schema: Any) -> Any:
    """Return the schema that a `$ref` leads to, one of the whole schema's `$defs`. Raises
    BadReference for any other.
    """
    found = _DEFINED.fullmatch(reference)
    defined = schema.get(found[1], {}) if found else {}
    if found is None or found[2] not in defined:
        raise BadReference(f"the schema's $ref {reference[:60]!r} leads to none of its $defs; nothing else is fetched")
    return defined[found[2]]


def _json_in(reply: str) -> tuple[str, Any] | None:
    """Return the JSON that a reply is, or that its last block of code has; None without any."""
    reply = reply[-LONGEST_REPLY:]
    for text in (reply.strip(), *[block[1].strip() for block in _FENCED.finditer(reply)][-1:]):
        try:
            return text, _parsed(text)
        except (ValueError, RecursionError):
            continue
    return None


def _parsed(text: str) -> Any:
    """Parse JSON of at most `DEEPEST` levels. Raises ValueError and RecursionError."""
    value = json.loads(text, parse_constant=_decimal, parse_float=_decimal)
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _members(outer)]
        if not level:
            return value
    raise ValueError(f"it is nested more than {DEEPEST} deep")


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _decimal(text: str) -> int | Fraction:
    """Return a number exactly as JSON writes it: 0.3 is a multiple of 0.1, though their doubles are not; 2.0 is an
    integer.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a number that JSON can hold")
    exact = Fraction(str(number))
    return exact.numerator if exact.denominator == 1 else exact
