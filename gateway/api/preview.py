"""The dry run's answer: the whole decision table, and what the next better answer would cost."""

from __future__ import annotations

from typing import Any

from gateway.billing.money import NANODOLLARS
from gateway.pipeline.state import RequestState
from gateway.routing.decision import OVER_CAP, Assessment, Decision


def decision_table(state: RequestState, decision: Decision) -> dict[str, Any]:
    """Return what would be done with the request, and why. Costs in USD."""
    best = decision.choices[0] if decision.choices else None
    cheapest = decision.cheapest_feasible
    preference = state.preference
    return {
        "object": "route.decision",
        "request_id": state.request_id,
        "reason": state.reason,
        "chosen": best.candidate.name if best else None,
        "cap_usd": _usd(state.request.cap),
        "lambda": preference.price_weight if preference else None,
        "cheapest_feasible_usd": _usd(cheapest.min_budget) if cheapest else None,
        "next_better": _next_better(decision),
        "candidates": [_row(row, rank) for rank, row in enumerate(decision.choices, 1)]
        + [_row(row, None) for row in decision.dropped],
    }


def _next_better(decision: Decision) -> dict[str, Any] | None:
    """Return the cheapest answer that is forecast to be better than the chosen one, and the cap that would allow it."""
    best = decision.choices[0] if decision.choices else None
    least = best.forecast.quality if best and best.forecast else 0.0
    rows = [row for row in (*decision.choices, *decision.dropped) if row.dropped in (None, OVER_CAP)]
    better = [row for row in rows if row.forecast is not None and row.forecast.quality > least]
    if not better:
        return None
    row = min(better, key=lambda row: (row.min_budget, -row.forecast.quality if row.forecast else 0.0))
    quality = row.forecast.quality if row.forecast else 0.0
    return {
        "candidate": row.candidate.name,
        "quality": round(quality, 4),
        "quality_gain": round(quality - least, 4),
        "expected_cost_usd": _usd(row.expected_cost),
        "needs_budget_usd": _usd(row.min_budget),
    }


def _row(row: Assessment, rank: int | None) -> dict[str, Any]:
    forecast = row.forecast
    return {
        "candidate": row.candidate.name,
        "rank": rank,
        "feasible": row.dropped is None,
        "reason": row.dropped or "feasible",
        "quality": round(forecast.quality, 4) if forecast else None,
        "quality_std": round(forecast.quality_std, 4) if forecast else None,
        "score": round(row.score, 6) if forecast else None,
        "expected_cost_usd": _usd(row.expected_cost),
        "ceiling_usd": _usd(row.max_cost),
        "needs_budget_usd": _usd(row.min_budget),
        "input_tokens": row.input_tokens,
        "output_tokens": round(forecast.output_tokens, 1) if forecast else None,
        "output_tokens_p90": round(forecast.output_tokens_high, 1) if forecast else None,
        "output_limit": row.output_limit,
    }


def _usd(nanodollars: int | None) -> float | None:
    return None if nanodollars is None else nanodollars / NANODOLLARS
