"""A finished request, for what watches."""

from __future__ import annotations

from typing import Any

from gateway.pipeline.record import Attempt, RequestRecord

PLAIN = RequestRecord(
    request_id="req_1",
    started_at=1_700_000_000.25,
    tenant="acme",
    candidate="small",
    reason="routed",
    outcome="ok",
    status=200,
    error_code=None,
    streamed=True,
    images=1,
    prompt_bytes=44,
    input_tokens=111,
    output_tokens=22,
    metered=False,
    expected_cost=1_500_000,
    held=9_000_000,
    cost=1_234_567,
    forecast_quality=0.75,
    propensity=1.0,
    price_weight=0.25,
    cap=2_000_000,
    attempts=(Attempt("small", None, 1_234_567),),
    dropped=(("dear", "over_cap"),),
    router_digest="abc",
    encode_s=0.004,
    first_byte_s=0.1,
    total_s=0.5,
    overhead_s=0.01,
    prices="genai-prices 0.2.3",
    estimated_cost=1_250_000,
    estimated_input_tokens=100,
    estimated_output_tokens=25,
)


def record(**changes: Any) -> RequestRecord:
    return PLAIN._replace(**changes)
