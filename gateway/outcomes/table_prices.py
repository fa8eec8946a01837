"""A price list as a file: YAML or JSON, with a version that is noted with the computed costs.

version: "2026-11"
prices:                 # USD per million tokens
  GPT-4o: {input: 2.5, output: 10}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.config.strict_yaml import read_yaml
from gateway.errors import ConfigError
from routers.table.costs import Price

Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class PriceList:
    """Candidate -> price, and the list's version."""

    version: str
    prices: Mapping[str, Price]


class _Price(BaseModel):
    model_config = ConfigDict(extra="forbid")
    input: Usd
    output: Usd


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: Annotated[str, Field(min_length=1)]
    prices: Annotated[dict[str, _Price], Field(min_length=1)]


def read_prices(path: Path) -> PriceList:
    """Read and check a file. Raises ConfigError, which names the key and the value at fault."""
    try:
        file = _File.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(_fault(error))}") from None
    return PriceList(file.version, {name: Price(price.input, price.output) for name, price in file.prices.items()})


def _fault(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}, got {fault['input']!r:.40}"
        for fault in error.errors(include_url=False)
    ]
