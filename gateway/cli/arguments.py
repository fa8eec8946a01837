"""Shared parts of `loupe tenants` and `loupe keys`: the opened store of a configuration, and parsers of budgets and
times.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.app.services import open_tenant_store
from gateway.config.secrets import key_secret
from gateway.config.settings import load_config
from gateway.config.tenants import declared_tenants
from gateway.errors import ConfigError, StoreError
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.management import TenantManagement
from gateway.tenants.schema import faults

Model = TypeVar("Model", bound=BaseModel)
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
BUDGET_HELP = "usd=25,period=month,zone=Europe/Berlin,soft=true (or requests=..., tokens=...); as often as there are"


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the gateway's; names its store")
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_budgets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--budget", action="append", type=members, metavar="WORDS", help=BUDGET_HELP)


@contextmanager
def opened(config: Path, *, any_secret: bool = False) -> Iterator[TenantManagement]:
    """Yield the management of the store that a gateway with this configuration uses.

    Tenants that are new in the configuration are read in first. With `any_secret`, keys may be hashed with another
    secret: no key can be made then.
    """
    settings = load_config(config)
    try:
        store = open_tenant_store(settings)
        try:
            given = key_secret(settings.server.key_secret_env)
            key_hash = KeyHash(b"no secret" if any_secret else store.secret(given)[0])
            management = TenantManagement(
                store, key_hash, time.time, [candidate.name for candidate in settings.candidates]
            )
            if not any_secret:
                management.read_in_new_tenants(declared_tenants(settings, config))
            yield management
        finally:
            store.close()
    except StoreError as error:
        raise ConfigError(str(error)) from None


def read_as(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Check the values as a model; None means not given. Raises ConfigError, naming what is at fault."""
    try:
        return model.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise ConfigError("; ".join(faults(error, "arguments"))) from None


def members(words: str) -> dict[str, str]:
    """Parse `usd=25,period=month` as the members of a section, such as a budget."""
    found = {}
    for word in words.split(","):
        name, mark, value = word.partition("=")
        if not mark:
            raise argparse.ArgumentTypeError(f"{word!r} is not name=value")
        if name.strip() in found:
            raise argparse.ArgumentTypeError(f"{name.strip()!r} appears twice in {words!r}")
        found[name.strip()] = value.strip()
    return found


def names(words: str) -> list[str]:
    """Parse a list such as `a,b`."""
    return [word.strip() for word in words.split(",") if word.strip()]


def seconds(words: str) -> float:
    """Parse a duration such as `90s`, `15m`, `24h` or `30d`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", words)
    if found is None:
        raise argparse.ArgumentTypeError(f"{words!r} is not a duration such as 90s, 15m, 24h or 30d")
    return float(found[1]) * UNITS_S[found[2]]


def moment(words: str) -> datetime:
    """Parse an ISO time (UTC unless it says otherwise), or a duration from now."""
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        return datetime.now(UTC) + timedelta(seconds=seconds(words))
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def show(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """Print rows as complete JSON, or as a table of these columns."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = [[column.replace("_", " ") for column in columns]]
    table += [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[place]) for line in table) for place in range(len(columns))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(_budget_words(each) if isinstance(each, dict) else str(each) for each in value) or "-"
    return str(value)


def _budget_words(budget: Mapping[str, Any]) -> str:
    unit = next(name for name in ("usd", "requests", "tokens") if name in budget)
    marks = [mark for mark in ("rolling", "soft") if budget[mark]]
    return " ".join([f"{budget[unit]:g} {unit}/{budget['period']}", *marks])
