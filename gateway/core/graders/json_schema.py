"""JSON of a given shape: the known answer is a JSON schema.

The part of JSON Schema (draft 2020-12) that describes answers, written out here: a validator of the whole standard
brings four packages more, one of them compiled, and this room takes none. A keyword that is not known is refused when
the data set is read, so that nothing is ever left unchecked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from gateway.core.graders.base import BadReference, Grade, Reference
from gateway.core.graders.pattern import compiled
from gateway.core.graders.plain import LONGEST_REPLY

LONGEST_SCHEMA = 20_000
"""Characters."""
_MOST_COMBINED = 500
"""Sub-schemas of one schema: with it a reply's check stays within what its length times this takes."""
_FENCED = re.compile(r"```(?:json)?[^\n]{0,20}\n(.{0,20000}?)```", re.DOTALL | re.IGNORECASE)
_IGNORED = frozenset({"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated"})


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """Right where the reply, or the block of code in it, is JSON that the schema allows."""

    version: str = "json_schema/1"

    def check(self, reference: Reference) -> None:
        schema_of(reference.answer)

    def grade(self, reply: str, reference: Reference) -> Grade:
        schema = schema_of(reference.answer)
        found = _json_in(reply)
        if found is None:
            return Grade(0.0)
        text, value = found
        return Grade(float(is_valid(value, schema)), text[:200])


@lru_cache(256)
def schema_of(text: str) -> Any:
    """The schema, every part of it known. Raises BadReference."""
    if len(text) > LONGEST_SCHEMA:
        raise BadReference(f"the schema has {len(text):,} characters; at most {LONGEST_SCHEMA:,} are taken")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadReference(f"the schema is no JSON: {error}") from None
    if _refuse_unknown(schema, "schema") > _MOST_COMBINED:
        raise BadReference(f"the schema is made of more than {_MOST_COMBINED} schemas")
    return schema


def is_valid(value: Any, schema: Any) -> bool:
    """Whether the schema, one that `schema_of` gave, allows a value as `json.loads` gives it."""
    if isinstance(schema, bool):
        return schema
    return all(_CHECKS[name](value, told, schema) for name, told in schema.items() if name in _CHECKS)


def _json_in(reply: str) -> tuple[str, Any] | None:
    """The JSON that a reply is, or has in its last block of code."""
    reply = reply[-LONGEST_REPLY:]
    for text in (reply.strip(), *[block[1].strip() for block in _FENCED.finditer(reply)][-1:]):
        try:
            return text, json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            continue
    return None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _refuse_unknown(schema: Any, where: str) -> int:
    """How many schemas it is made of. Raises BadReference for what `is_valid` does not know."""
    if isinstance(schema, bool):
        return 1
    if not isinstance(schema, dict):
        raise BadReference(f"{where} is no schema")
    count = 1
    for name, told in schema.items():
        if name in _IGNORED:
            continue
        if name not in _CHECKS:
            raise BadReference(f"{where}: the keyword {name!r} is not known here")
        if not _SHAPES[name](told):
            raise BadReference(f"{where}: {name} can not be {json.dumps(told)[:60]}")
        if name == "pattern":
            compiled(told)
        for part in _parts(name, told):
            count += _refuse_unknown(part, f"{where}.{name}")
    return count


def _parts(name: str, told: Any) -> list[Any]:
    """The schemas within a keyword's value."""
    if name == "properties":
        return list(told.values())
    if name in ("allOf", "anyOf", "oneOf", "prefixItems"):
        return list(told)
    return [told] if name in ("items", "not", "contains", "additionalProperties") else []


def _same(first: Any, second: Any) -> bool:
    """Equal as JSON: true is not 1, and 1.0 is."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(_same(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    return bool(first == second)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_of(value: Any, kind: str) -> bool:
    if kind == "integer":
        return _is_number(value) and (isinstance(value, int) or value.is_integer())
    if kind == "number":
        return _is_number(value)
    return isinstance(value, _KINDS[kind])


def _rest(value: dict[str, Any], schema: Mapping[str, Any]) -> list[Any]:
    return [member for name, member in value.items() if name not in schema.get("properties", {})]


def _is_multiple(value: float, unit: float) -> bool:
    times = value / unit
    return math.isfinite(times) and abs(times - round(times)) < 1e-9


_KINDS: Mapping[str, Any] = MappingProxyType(
    {"string": str, "boolean": bool, "object": dict, "array": list, "null": type(None), "integer": int, "number": float}
)

Check = Callable[[Any, Any, Mapping[str, Any]], bool]
_CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "type": lambda v, told, _: any(_is_of(v, kind) for kind in ([told] if isinstance(told, str) else told)),
        "enum": lambda v, told, _: any(_same(v, each) for each in told),
        "const": lambda v, told, _: _same(v, told),
        "minimum": lambda v, told, _: not _is_number(v) or v >= told,
        "maximum": lambda v, told, _: not _is_number(v) or v <= told,
        "exclusiveMinimum": lambda v, told, _: not _is_number(v) or v > told,
        "exclusiveMaximum": lambda v, told, _: not _is_number(v) or v < told,
        "multipleOf": lambda v, told, _: not _is_number(v) or _is_multiple(v, told),
        "minLength": lambda v, told, _: not isinstance(v, str) or len(v) >= told,
        "maxLength": lambda v, told, _: not isinstance(v, str) or len(v) <= told,
        "pattern": lambda v, told, _: not isinstance(v, str) or compiled(told).search(v) is not None,
        "minItems": lambda v, told, _: not isinstance(v, list) or len(v) >= told,
        "maxItems": lambda v, told, _: not isinstance(v, list) or len(v) <= told,
        "contains": lambda v, told, _: not isinstance(v, list) or any(is_valid(each, told) for each in v),
        "prefixItems": lambda v, told, _: (
            not isinstance(v, list) or all(is_valid(each, part) for each, part in zip(v, told, strict=False))
        ),
        "items": lambda v, told, schema: (
            not isinstance(v, list) or all(is_valid(each, told) for each in v[len(schema.get("prefixItems", ())) :])
        ),
        "required": lambda v, told, _: not isinstance(v, dict) or all(name in v for name in told),
        "properties": lambda v, told, _: (
            not isinstance(v, dict) or all(is_valid(v[name], part) for name, part in told.items() if name in v)
        ),
        "additionalProperties": lambda v, told, schema: (
            not isinstance(v, dict) or all(is_valid(member, told) for member in _rest(v, schema))
        ),
        "minProperties": lambda v, told, _: not isinstance(v, dict) or len(v) >= told,
        "maxProperties": lambda v, told, _: not isinstance(v, dict) or len(v) <= told,
        "allOf": lambda v, told, _: all(is_valid(v, part) for part in told),
        "anyOf": lambda v, told, _: any(is_valid(v, part) for part in told),
        "oneOf": lambda v, told, _: sum(is_valid(v, part) for part in told) == 1,
        "not": lambda v, told, _: not is_valid(v, told),
    }
)


def _is_count(told: Any) -> bool:
    return isinstance(told, int) and not isinstance(told, bool) and told >= 0


def _are_names(told: Any) -> bool:
    return isinstance(told, list) and all(isinstance(name, str) for name in told)


def _are_kinds(told: Any) -> bool:
    return all(isinstance(kind, str) and kind in _KINDS for kind in (told if isinstance(told, list) else [told]))


def _is_list(told: Any) -> bool:
    return isinstance(told, list) and bool(told)


def _is_schema(told: Any) -> bool:
    return isinstance(told, dict | bool)


_SHAPES: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        "type": _are_kinds,
        "enum": _is_list,
        "const": lambda _: True,
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _is_number),
        "multipleOf": lambda told: _is_number(told) and told > 0,
        **dict.fromkeys(
            ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _is_count
        ),
        "pattern": lambda told: isinstance(told, str),
        **dict.fromkeys(("contains", "items", "not", "additionalProperties"), _is_schema),
        **dict.fromkeys(("prefixItems", "allOf", "anyOf", "oneOf"), _is_list),
        "required": _are_names,
        "properties": lambda told: isinstance(told, dict),
    }
)
"""What each keyword may be told."""
