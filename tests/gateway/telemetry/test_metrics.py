"""The metrics: what a record adds to them, and that no client or provider can add labels."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.record import Attempt
from gateway.errors import InvalidRequest, RequestError
from gateway.telemetry.metrics import CODES, Metrics

from ..records import record

GATEWAY = Path(__file__).resolve().parents[3] / "gateway"


def read(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return read(metrics).get((name, tuple(sorted(labels.items()))), 0.0)


def test_a_served_request_is_counted() -> None:
    metrics = Metrics()
    metrics.observe(record())
    metrics.observe(record(cost=765_433))
    who = {"tenant": "acme", "candidate": "small"}
    assert value(metrics, "loupe_requests_total", **who, outcome="ok") == 2
    assert value(metrics, "loupe_spend_usd_total", **who) == pytest.approx(0.002)
    assert value(metrics, "loupe_input_tokens_total", **who) == 222
    assert value(metrics, "loupe_output_tokens_total", **who) == 44
    assert value(metrics, "loupe_request_seconds_count") == 2
    assert value(metrics, "loupe_request_seconds_sum") == 1.0
    assert value(metrics, "loupe_encode_seconds_count") == 2
    assert value(metrics, "loupe_first_byte_seconds_count") == 2
    assert value(metrics, "loupe_metered_replies_total", candidate="small") == 0


def test_buckets_count_what_lies_under_their_bound() -> None:
    metrics = Metrics()
    for seconds in (0.0, 0.0005, 0.0006, 60.0, 61.0):
        metrics.observe(record(total_s=seconds))
    bounds = ("0.0005", "0.001", "60.0", "+Inf")
    assert [value(metrics, "loupe_request_seconds_bucket", le=le) for le in bounds] == [2, 3, 4, 5]


def test_a_refused_request_is_counted_by_its_code() -> None:
    metrics = Metrics()
    metrics.observe(record(candidate=None, outcome="refused", error_code="budget_infeasible", cost=0, attempts=()))
    assert value(metrics, "loupe_refusals_total", tenant="acme", code="budget_infeasible") == 1
    assert value(metrics, "loupe_requests_total", tenant="acme", candidate="none", outcome="refused") == 1
    assert value(metrics, "loupe_spend_usd_total", tenant="acme", candidate="none") == 0


def test_codes_that_providers_make_up_share_one_label() -> None:
    metrics = Metrics()
    for code in ("rate-42", "x" * 500):
        metrics.observe(record(error_code=code))
    assert value(metrics, "loupe_refusals_total", tenant="acme", code="provider_refused") == 2


def test_a_refusal_before_there_was_a_tenant_is_counted() -> None:
    metrics = Metrics()
    metrics.refused_early(InvalidRequest("no JSON", code="invalid_json"))
    metrics.refused_early(InvalidRequest("n: 0"))
    assert value(metrics, "loupe_refusals_total", tenant="none", code="invalid_json") == 1
    assert value(metrics, "loupe_refusals_total", tenant="none", code="invalid_request_error") == 1


def test_declines_failures_and_meterings_are_counted() -> None:
    metrics = Metrics()
    attempts = (Attempt("dear", "http_503", 0), Attempt("small", None, 5))
    reason = "declined:encoder_timeout;fallback=dear:http_503"
    metrics.observe(record(reason=reason, attempts=attempts, metered=True, encode_s=0.0))
    assert value(metrics, "loupe_declines_total", reason="encoder_timeout") == 1
    assert value(metrics, "loupe_failed_attempts_total", candidate="dear", reason="http_503") == 1
    assert value(metrics, "loupe_metered_replies_total", candidate="small") == 1
    assert value(metrics, "loupe_encode_seconds_count") == 0


def test_a_bill_over_its_hold_is_counted() -> None:
    metrics = Metrics()
    metrics.observe(record(cost=11, held=10))
    metrics.observe(record(cost=10, held=10))
    assert value(metrics, "loupe_hold_exceeded_total", candidate="small") == 1


def test_an_error_inside_is_counted() -> None:
    metrics = Metrics()
    metrics.internal_error("settle")
    assert value(metrics, "loupe_internal_errors_total", where="settle") == 1


def test_what_is_kept_elsewhere_is_read_when_asked_for() -> None:
    metrics = Metrics()
    lost = [3.0]
    metrics.watch("loupe_lines_lost", "Lines lost", lambda: lost[0])
    assert value(metrics, "loupe_lines_lost") == 3
    lost[0] = 4
    assert value(metrics, "loupe_lines_lost") == 4


def test_nothing_observed_renders() -> None:
    assert b"loupe_requests_total" in Metrics().render()


ELSEWHERE = ("admin.py", "decisions.py", "rest.py", "roster.py", "tenancy.py", "terms.py")
"""What only the administration's side answers with: it is not counted as a refusal of a request."""


def test_every_code_of_our_own_is_a_label() -> None:
    """Codes are written as `code=...` where an error is raised, or stand in its class."""
    found = {error.code for error in every_kind(RequestError) if error.code}
    for path in GATEWAY.rglob("*.py"):
        if {"replay", "demo"} & set(path.parts) or path.name in ELSEWHERE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
    assert found - {"not_found"} <= CODES  # `not_found` is only ever the REST side's


def every_kind(root: type[RequestError]) -> list[type[RequestError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in every_kind(child))]
