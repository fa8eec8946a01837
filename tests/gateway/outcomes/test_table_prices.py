"""Price files: YAML or JSON, a version that must be there, and nothing that is not known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.outcomes.table_prices import PriceList, read_prices
from routers.table.costs import Price

LIST: dict[str, Any] = {"version": "2026-11", "prices": {"GPT-4o": {"input": 2.5, "output": 10}}}


def written(folder: Path, text: str) -> Path:
    path = folder / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    expected = PriceList("2026-11", {"GPT-4o": Price(2.5, 10.0)})
    assert read_prices(written(tmp_path, json.dumps(LIST))) == expected
    text = "version: '2026-11'\nprices:  # USD per million tokens\n  GPT-4o: {input: 2.5, output: 10}\n"
    assert read_prices(written(tmp_path, text)) == expected


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": ""}, "version: String should have at least 1 character"),
        ({"version": 2026}, "version: Input should be a valid string, got 2026"),
        ({"prices": {}}, "prices: Dictionary should have at least 1 item"),
        ({"currency": "EUR"}, "currency: Extra inputs are not permitted, got 'EUR'"),
        ({"prices": {"a": {"input": 1}}}, "prices.a.output: Field required"),
        ({"prices": {"a": {"input": 1, "output": "dear"}}}, "prices.a.output: Input should be a valid number"),
        ({"prices": {"a": {"input": 1, "output": 1, "image": 1}}}, "prices.a.image: Extra inputs"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = written(tmp_path, json.dumps({**LIST, **change}))
    with pytest.raises(ConfigError) as raised:
        read_prices(path)
    assert says in str(raised.value)
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "just words",
        "",
        "version: v\nprices: {a: {input: 1, output: 1}, a: {input: 2, output: 2}}",
        "prices: {a: {input: .inf, output: 1}}\nversion: v",
    ],
)
def test_what_is_no_price_list_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"prices\.yaml: ") as raised:
        read_prices(written(tmp_path, text))
    assert "\n" not in str(raised.value)
