"""The request headers that steer a decision: `X-Budget`, `X-Quality-Weight`, `X-Candidates`, `X-Session-*`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from gateway.billing.money import from_usd
from gateway.errors import InvalidRequest

Headers = Mapping[bytes, bytes]
"""Headers by lower-case name, as ASGI gives them."""


def budget_cap(headers: Headers) -> int | None:
    """Return the most that this request may cost, in nanodollars. Raises InvalidRequest for an invalid amount."""
    return _amount(headers, b"x-budget", "X-Budget")


def session_cap(headers: Headers) -> tuple[str, int] | None:
    """Return the request's session, as a hash of its id, and the most that the whole session may cost, in nanodollars.

    Returns None without `X-Session-Budget`. Raises InvalidRequest for a budget without an id, or an invalid amount.
    """
    session, limit = _text(headers, b"x-session-id"), _amount(headers, b"x-session-budget", "X-Session-Budget")
    if limit is None:  # an id alone is not a cap: clients send it for their own purposes
        return None
    if not session:
        raise InvalidRequest("X-Session-Budget without X-Session-Id: say which session", param="X-Session-Id")
    return hashlib.sha256(session.encode("latin-1")).hexdigest()[:32], limit


def quality_weight(headers: Headers) -> float | None:
    """Return how much quality counts against price, 0 to 1. Raises InvalidRequest for anything else."""
    text = _text(headers, b"x-quality-weight")
    if text is None:
        return None
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight <= 1:
        raise InvalidRequest(
            f"X-Quality-Weight: {text[:40]!r} is not a number from 0 to 1",
            param="X-Quality-Weight",
            code="invalid_quality_weight",
        )
    return weight


def candidate_names(headers: Headers) -> tuple[str, ...] | None:
    """Return the candidates that the request allows; None when it allows all."""
    text = _text(headers, b"x-candidates")
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise InvalidRequest(f"X-Candidates: {text[:40]!r} does not name a candidate", param="X-Candidates")
    return names


def _amount(headers: Headers, header: bytes, name: str) -> int | None:
    text = _text(headers, header)
    if text is None:
        return None
    try:
        return from_usd(text)
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}", param=name, code="invalid_budget") from None


def _text(headers: Headers, name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1").strip()
