"""The refusals of the request path. Each message says what is wrong, where, and with which value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from gateway.routing.circuit_breaker import Rest
from gateway.routing.decision import CONTEXT, UNHEALTHY, Decision

NO_RETRY = ("x-should-retry", "false")
HELD_RETRY_S = 1
RESTING_RETRY_S = 5
LONGEST_RETRY_AFTER_S = 60
LONGEST_TRIED = 1_000
LONGEST_SAID = 2_000
MOST_TELLING = ("context_length", "content_filter", "unsupported", "invalid", "too_large")
"""The faults of a request, the one that tells a client most first."""
CODES = {"context_length": "context_length_exceeded"}
"""The code for a fault, whatever the provider calls it: clients look for it to shorten their prompt."""


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


def infeasible(decision: Decision, request: ChatRequest, resting: Mapping[str, Rest] | None = None) -> RequestError:
    """Return the error when no candidate may be tried.

    402, naming the price, if a higher cap would be enough. 429 or 503 if capable candidates are `resting`, after a rate
    limit or failures. Otherwise 400, with the code `context_length_exceeded` if the prompt is too long for all.
    """
    cheapest = decision.cheapest_feasible
    reasons = "; ".join(f"{row.candidate.name}: {row.dropped}" for row in decision.dropped[:16])
    if cheapest is None and any(row.dropped == UNHEALTHY for row in decision.dropped):
        return _all_resting(reasons, [rest for name, rest in (resting or {}).items() if _is_dropped(decision, name)])
    if cheapest is None or request.cap is None:
        is_too_long = {row.dropped for row in decision.dropped} == {CONTEXT}
        return InvalidRequest(
            f"no candidate can serve this request ({reasons or 'none allowed'})",
            code="context_length_exceeded" if is_too_long else "no_capable_candidate",
            param="messages" if is_too_long else None,
        )
    return BudgetInfeasible(
        f"X-Budget {to_usd(request.cap)} USD is below the cheapest feasible price, {to_usd(cheapest.min_budget)} USD "
        f"({cheapest.candidate.name})",
        param="X-Budget",
        headers=(NO_RETRY, ("x-route-feasible-cost", to_usd(cheapest.min_budget))),
    )


def _is_dropped(decision: Decision, name: str) -> bool:
    return any(row.candidate.name == name and row.dropped == UNHEALTHY for row in decision.dropped)


def _all_resting(reasons: str, rests: Sequence[Rest]) -> RequestError:
    """Return 429 if only rate limits are in the way, else 503."""
    wait = min((rest.left_s for rest in rests), default=RESTING_RETRY_S)
    if rests and all(rest.fault == "rate_limit" for rest in rests):
        return _rate_limited(reasons, wait)
    message = f"no candidate can serve this request right now ({reasons})"
    return ProviderFailure(message + _come_again(wait), status=503, headers=_retry(wait), retry_after_s=wait)


def over_quota(refused: OverLimit, now: float, decision: Decision | None = None) -> QuotaError:
    """Return the 429 error: what is left of the window does not cover this request.

    `decision` tells what would fit.
    """
    window = refused.window
    tenant, _, kind = window.key.partition("/")
    wait = window.ends_at - now if window.ends_at is not None else None
    if refused.held > 0:
        wait = HELD_RETRY_S if wait is None else min(wait, HELD_RETRY_S)
    when = "" if wait is None else _come_again(wait)
    headers = () if wait is None else _retry(wait)
    choices = decision.choices if decision is not None else ()
    if window.unit != "usd":
        least = min((choice.expected_tokens for choice in choices), default=None)
        needs = f"about {least}" if least is not None and window.unit == "tokens" else "more"
        return QuotaError(
            f"tenant {tenant}: {refused.remaining} of {window.limit} {window.unit} are left ({kind}), "
            f"this request needs {needs}{when}",
            code="rate_limit_exceeded",
            kind="rate_limit_error",
            headers=headers,
            retry_after_s=wait,
        )
    cheapest = min((choice.min_budget for choice in choices), default=None)
    needs = "more" if cheapest is None else f"at least {to_usd(cheapest)} USD"
    held = f", {to_usd(refused.held)} USD is held by requests in flight" if refused.held else ""
    return QuotaError(
        f"tenant {tenant}: {to_usd(refused.remaining)} USD of the budget of {to_usd(window.limit)} USD "
        f"({kind}) is left, this request needs {needs}{held}{when}",
        headers=headers if NO_RETRY in headers else (NO_RETRY, *headers),
        retry_after_s=wait,
    )


def provider_failed(failures: Sequence[ProviderError]) -> RequestError:
    """Return the error when no attempt served.

    If the refusals that blame the request are all that stood in the way (but for candidates whose account is at fault),
    the client gets the most telling of them, in the provider's words. Otherwise 429 if the others are rate limited, so
    that the client may come again, and else 502.
    """
    blamed = [failure for failure in failures if failure.blames_request]
    passing = [failure for failure in failures if not failure.blames_request and failure.fault != "account"]
    if blamed and not passing:
        return _as_provider_said(min(blamed, key=lambda failure: MOST_TELLING.index(failure.fault or "invalid")))
    tried = "; ".join(str(failure) for failure in failures)[:LONGEST_TRIED]
    if passing and all(failure.fault == "rate_limit" for failure in passing):
        waits = [failure.retry_after_s for failure in passing if failure.retry_after_s is not None]
        return _rate_limited(tried, min(waits, default=HELD_RETRY_S))
    return ProviderFailure(f"no candidate answered ({tried})")


def _rate_limited(tried: str, wait_s: float) -> ProviderFailure:
    return ProviderFailure(
        f"every candidate is rate limited ({tried}){_come_again(wait_s)}",
        status=429,
        code="provider_rate_limited",
        kind="rate_limit_error",
        headers=_retry(wait_s),
        retry_after_s=wait_s,
    )


def _retry(wait_s: float) -> tuple[tuple[str, str], ...]:
    """Return the headers that say when to try again.

    A wait of more than a minute is not sent as `retry-after`: clients sleep for as long as it says, up to hours, before
    their caller hears of it. They are told not to retry instead.
    """
    if wait_s > LONGEST_RETRY_AFTER_S:
        return (NO_RETRY,)
    return (("retry-after", str(max(1, math.ceil(wait_s)))),)


def _come_again(wait_s: float) -> str:
    return f"; it may succeed in {max(1, math.ceil(wait_s))} s"


def _label(value: Any) -> str | None:
    """Return a provider's `param` or `code` if it is short and printable enough for records, else None."""
    return value if isinstance(value, str) and len(value) <= 200 and value.isprintable() else None


def store_unavailable() -> RequestError:
    return RequestError(
        "the budget cannot be checked right now; nothing was spent",
        status=503,
        kind="server_error",
        code="store_unavailable",
        headers=_retry(HELD_RETRY_S),
    )


def starting() -> RequestError:
    return RequestError(
        "the gateway is starting", status=503, kind="server_error", code="starting", headers=_retry(HELD_RETRY_S)
    )


def _as_provider_said(failure: ProviderError) -> RequestError:
    """Return the refusal with the provider's message and code, and our own code where the provider's is not telling."""
    code = CODES.get(failure.fault or "") or failure.code or "provider_refused"
    return InvalidRequest(
        (failure.said or str(failure))[:LONGEST_SAID],
        param=_label(failure.param),
        code=_label(code),
        status=failure.status if failure.status is not None and 400 <= failure.status < 500 else 400,
    )
