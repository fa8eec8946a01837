"""The refusals of the request path. Each message says what is wrong, where, and with which value."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from gateway.billing.money import to_usd
from gateway.billing.reservation import OverLimit
from gateway.errors import (
    BudgetInfeasible,
    InvalidRequest,
    NotFoundError,
    ProviderError,
    ProviderFailure,
    QuotaError,
    RequestError,
)
from gateway.pipeline.chat_request import ChatRequest
from gateway.routing.decision import UNHEALTHY, Decision

NO_RETRY = ("x-should-retry", "false")
HELD_RETRY_S = 1
RESTING_RETRY_S = 5


def no_such_model(name: str) -> NotFoundError:
    return NotFoundError(
        f"The model {name[:80]!r} does not exist or you do not have access to it; "
        "ask for 'auto', a policy or a candidate of GET /v1/models.",
        param="model",
        code="model_not_found",
    )


def no_such_candidate(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"X-Candidates: {name[:80]!r} is not a candidate that you have access to", param="X-Candidates"
    )


def infeasible(decision: Decision, request: ChatRequest) -> RequestError:
    """Return 402, naming the price, if a higher cap would be enough; 503 if capable candidates are
    unhealthy; else 400.
    """
    cheapest = decision.cheapest_feasible
    reasons = "; ".join(f"{row.candidate.name}: {row.dropped}" for row in decision.dropped[:16])
    if cheapest is None and any(row.dropped == UNHEALTHY for row in decision.dropped):
        return ProviderFailure(
            f"no candidate can serve this request right now ({reasons})",
            status=503,
            headers=(("retry-after", str(RESTING_RETRY_S)),),
        )
    if cheapest is None or request.cap is None:
        return InvalidRequest(
            f"no candidate can serve this request ({reasons or 'none allowed'})", code="no_capable_candidate"
        )
    return BudgetInfeasible(
        f"X-Budget {to_usd(request.cap)} USD is below the cheapest feasible price, {to_usd(cheapest.min_budget)} USD "
        f"({cheapest.candidate.name})",
        param="X-Budget",
        headers=(NO_RETRY, ("x-route-feasible-cost", to_usd(cheapest.min_budget))),
    )


def over_quota(refused: OverLimit, now: float) -> QuotaError:
    """Return the 429 error: what is left of the window does not cover this request."""
    window = refused.window
    tenant, _, kind = window.key.partition("/")
    wait = window.ends_at - now if window.ends_at is not None else None
    if refused.held > 0:
        wait = HELD_RETRY_S if wait is None else min(wait, HELD_RETRY_S)
    headers = () if wait is None else (("retry-after", str(max(1, math.ceil(wait)))),)
    if window.unit != "usd":
        return QuotaError(
            f"tenant {tenant}: {refused.remaining} of {window.limit} {window.unit} are left ({kind}), "
            "this request needs more",
            code="rate_limit_exceeded",
            headers=headers,
        )
    held = f", {to_usd(refused.held)} USD is held by requests in flight" if refused.held else ""
    return QuotaError(
        f"tenant {tenant}: {to_usd(refused.remaining)} USD of the budget of {to_usd(window.limit)} USD "
        f"({kind}) is left, this request needs more{held}",
        headers=(NO_RETRY, *headers),
    )


def provider_failed(failures: Sequence[ProviderError]) -> RequestError:
    """Return the error when no attempt served: the provider's own message for a fault of the request, else 502.

    Returns 429 if every candidate is rate limited.
    """
    last = failures[-1]
    if last.permanent:
        return _as_provider_said(last)
    tried = "; ".join(str(failure) for failure in failures)[:600]
    if all(failure.status == 429 for failure in failures):
        return ProviderFailure(
            f"every candidate is rate limited ({tried})",
            status=429,
            code="provider_rate_limited",
            headers=(("retry-after", str(HELD_RETRY_S)),),
        )
    return ProviderFailure(f"no candidate answered ({tried})")


def _label(value: Any) -> str | None:
    """Return a provider's `param` or `code` if it is short and printable enough for records, else None."""
    return value if isinstance(value, str) and len(value) <= 200 and value.isprintable() else None


def store_unavailable() -> RequestError:
    return RequestError(
        "the budget cannot be checked right now; nothing was spent", status=503, code="store_unavailable"
    )


def starting() -> RequestError:
    return RequestError("the gateway is starting", status=503, code="starting")


def _as_provider_said(failure: ProviderError) -> RequestError:
    message, param, code = str(failure), None, "provider_refused"
    try:
        error = json.loads(failure.body)["error"]
        message = str(error["message"])[:2000]
        param, code = _label(error.get("param")), _label(error.get("code")) or code
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass  # the provider's error has another format: keep our own message
    return InvalidRequest(message, param=param, code=code, status=failure.status or 400)
