"""YAML whose mappings have each key once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.strict_yaml import read_yaml
from gateway.errors import ConfigError


def read(folder: Path, text: str) -> object:
    path = folder / "any.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a'", (3, 1)),
        ("a: {usd: 5, period: day, usd: 5}", "'usd'", (1, 1)),
        ("- x\n- - b: 1\n    'b': 2\n", "'b'", (3, 2)),
        ('{"a": 1, "\\u0061": 2}', "'a'", (1, 1)),
        ("1: a\n0x1: b\n", "1", (2, 1)),
        ("yes: a\ntrue: b\n", "True", (2, 1)),
        ("? a\n: 1\n? a\n: 2\n", "'a'", (3, 1)),
        ("base: &base {a: 1}\nmore:\n  <<: *base\n  b: 1\n  b: 2\n", "'b'", (5, 4)),
        ("a: &one {b: 1, b: 2}\nc: *one\n", "'b'", (1, 1)),
    ],
)
def test_a_key_that_stands_twice_is_refused_by_name_and_line(
    tmp_path: Path, text: str, key: str, lines: tuple[int, int]
) -> None:
    with pytest.raises(ConfigError) as fault:
        read(tmp_path, text)
    where = f"line {lines[0]}: the key {key} appears twice in one mapping, first in line {lines[1]}"
    assert str(fault.value) == f"{tmp_path / 'any.yaml'}: {where}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\nb: {a: 2}\nc: [{a: 1}, {a: 1}]\n", {"a": 1, "b": {"a": 2}, "c": [{"a": 1}, {"a": 1}]}),
        ("a: 1\n'1': 2\n1: 3\n", {"a": 1, "1": 2, 1: 3}),
        ("x: &x {a: 1, b: 1}\ny: &y\n  <<: *x\n  a: 2\nz: {<<: *y, b: 3}\n", {
            "x": {"a": 1, "b": 1}, "y": {"a": 2, "b": 1}, "z": {"a": 2, "b": 3}}),
        ("x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz:\n  <<: [*x, *y]\n  b: 3\n", {
            "x": {"a": 1}, "y": {"a": 2, "b": 2}, "z": {"a": 1, "b": 3}}),
        ("", None),
    ],
)  # fmt: skip
def test_keys_of_several_mappings_and_merged_keys_are_no_second_keys(tmp_path: Path, text: str, found: object) -> None:
    assert read(tmp_path, text) == found
