"""Small values for the tests of the core."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.billing.image_tokens import flat
from gateway.billing.price import Price
from gateway.routing.catalog import Candidate

PRICE = Price(1_000_000_000, 4_000_000_000)


def candidate(name: str, price: Price = PRICE, **changes: Any) -> Candidate:
    """A candidate whose images take 100 tokens each; 1 USD a million tokens in, 4 out, unless told otherwise."""
    plain = Candidate(name, "p", f"{name}-served", price, image_tokens=flat(100), forecast_as=name)
    return replace(plain, **changes)
