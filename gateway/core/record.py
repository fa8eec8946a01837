"""What is kept of a finished request: one frozen record, taken by every observer."""

from __future__ import annotations

from typing import NamedTuple


class Attempt(NamedTuple):
    """One candidate that was tried: `failure` is a short label, None for the one that served."""

    candidate: str
    failure: str | None
    cost: int


class RequestRecord(NamedTuple):
    """A request, from its first byte in to its settled charge. Money in nanodollars, times in seconds.

    Attributes:
        reason: why this candidate (`routed`, `pinned`, `declined:...`), as in `X-Route-Reason`.
        outcome: `ok`, `cut_short`, `client_left`, `refused` or `failed`.
        error_code: the code of the error the client saw, or None.
        metered: whether the tokens are Loupe's own count, because the provider sent no usage.
        overhead_s: time that Loupe itself added: everything but waiting for the provider and the client.
        parse_s, decide_s, reserve_s: 0 where the request did not come so far; `reserve_s` is of all attempts together.
        dearest_cost: expected cost of the dearest candidate that could have served.
        exceeded: soft windows that are over their limit with it.
        propensity: with what probability the decision took this candidate (1 without exploration).
        prices: by which prices the candidate was estimated and charged: a list and its version, or what was set.
        estimated_cost: the estimate before it was calibrated; `expected_cost` is after. Made of
            `estimated_input_tokens` and `estimated_output_tokens` (of all replies).
    """

    request_id: str
    started_at: float
    tenant: str
    candidate: str | None
    reason: str
    outcome: str
    status: int
    error_code: str | None
    streamed: bool
    images: int
    prompt_bytes: int
    input_tokens: int
    output_tokens: int
    metered: bool
    expected_cost: int
    held: int
    cost: int
    forecast_quality: float | None
    propensity: float
    lagrangian: float | None
    cap: int | None
    attempts: tuple[Attempt, ...]
    dropped: tuple[tuple[str, str], ...]
    router_digest: str
    encode_s: float
    first_byte_s: float | None
    total_s: float
    overhead_s: float
    parse_s: float = 0.0
    decide_s: float = 0.0
    reserve_s: float = 0.0
    dearest_cost: int = 0
    prices: str = ""
    estimated_cost: int = 0
    estimated_input_tokens: int = 0
    estimated_output_tokens: int = 0
    exceeded: tuple[str, ...] = ()
