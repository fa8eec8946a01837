"""Costs computed again from tokens and one price list, so that outcomes of different days can be compared.

Rule: this module knows no prices; the caller gives the price list and its version.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from routers.table.outcome_table import OutcomeTable, TableError

PRICES_NOTE, ASSUMED_NOTE = "prices", "input_tokens"
"""Names of notes in a priced table: the version of its prices, and the input tokens that were assumed, if any."""

_TOKENS = 1e6


@dataclass(frozen=True, slots=True)
class Price:
    """A price in USD per million tokens. Raises ValueError for a negative or infinite price."""

    input: float
    output: float

    def __post_init__(self) -> None:
        for name, usd in (("input", self.input), ("output", self.output)):
            if not (math.isfinite(usd) and usd >= 0):
                raise ValueError(f"the {name} price is {usd} USD per million tokens, not a finite number of 0 or more")


def priced(
    table: OutcomeTable, prices: Mapping[str, Price], version: str, *, input_tokens: float | None = None
) -> OutcomeTable:
    """Return the table with every cost computed from its tokens, and `version` in its notes.

    A cell without token counts has no cost: the old cost is not kept, because it comes from another price list.
    `input_tokens` is assumed where the table does not have them. Raises TableError for a candidate without price, and
    where input costs money and no cell has a number of input tokens.
    """
    unpriced = [name for name in table.candidates if name not in prices]
    if unpriced:
        raise TableError(f"prices {version}: none for {', '.join(map(repr, unpriced))}")
    known = np.full(table.score.shape, np.nan) if table.input_tokens is None else table.input_tokens
    assumed = np.zeros(known.shape, dtype=np.bool_)
    if input_tokens is not None:
        assumed = np.isnan(known) & ~np.isnan(table.output_tokens)
        known = np.where(assumed, input_tokens, known)
    paid = np.array([prices[name].input for name in table.candidates], dtype=np.float64)
    if paid.any() and len(table) and np.isnan(known[:, paid > 0]).all():
        raise TableError(f"prices {version}: the table says no input tokens; say how many to assume")
    output = np.array([prices[name].output for name in table.candidates], dtype=np.float64)
    # The number of input tokens does not matter where input costs nothing.
    cost = (np.where(paid == 0, 0.0, known * paid) + table.output_tokens * output) / _TOKENS
    notes = {**table.notes, PRICES_NOTE: version}
    notes.pop(ASSUMED_NOTE, None)
    if assumed.any():
        notes[ASSUMED_NOTE] = f"{input_tokens:g} assumed in {int(assumed.sum())} cells"
    return replace(table, cost_usd=cost, notes=notes)
