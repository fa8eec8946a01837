"""The metrics: what a record adds to them, and that no client or provider can add labels."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.errors import InvalidRequest, RequestError
from gateway.pipeline.record import Attempt
from gateway.telemetry.metrics import CODES, COUNTED_AT_ONCE, LARGEST_GAUGES, LARGEST_TENANTS, STAGES, Metrics
from tests.fakes.records import record

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
    assert value(metrics, "loupe_stage_seconds_count", stage="total") == 2
    assert value(metrics, "loupe_stage_seconds_sum", stage="total") == 1.0
    assert value(metrics, "loupe_stage_seconds_count", stage="first_byte") == 2
    assert value(metrics, "loupe_metered_replies_total", candidate="small") == 0


def test_buckets_count_what_lies_under_their_bound() -> None:
    metrics = Metrics()
    for seconds in (0.0, 0.0005, 0.0006, 60.0, 61.0):
        metrics.observe(record(total_s=seconds))
    bounds = ("0.0005", "0.001", "60.0", "+Inf")
    found = [value(metrics, "loupe_stage_seconds_bucket", stage="total", le=le) for le in bounds]
    assert found == [1, 2, 3, 4]  # what took no time did not come so far


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
    metrics.refused_early(InvalidRequest("not valid JSON", code="invalid_json"))
    metrics.refused_early(InvalidRequest("n: 0"))
    assert value(metrics, "loupe_refusals_total", tenant="none", code="invalid_json") == 1
    assert value(metrics, "loupe_refusals_total", tenant="none", code="invalid_request_error") == 1


def test_declines_failures_and_meterings_are_counted() -> None:
    metrics = Metrics()
    attempts = (Attempt("dear", "http_503", 0), Attempt("small", None, 5))
    reason = "declined:encoder_timeout;fallback=dear:http_503"
    metrics.observe(record(reason=reason, attempts=attempts, metered=True))
    assert value(metrics, "loupe_declines_total", reason="encoder_timeout") == 1
    assert value(metrics, "loupe_failed_attempts_total", candidate="dear", reason="http_503") == 1
    assert value(metrics, "loupe_metered_replies_total", candidate="small") == 1
    assert value(metrics, "loupe_fallbacks_total", candidate="small") == 1


def test_a_bill_over_its_hold_is_counted() -> None:
    metrics = Metrics()
    metrics.observe(record(cost=10, held=10, exceeds_hold=True))
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


@pytest.mark.slow
def test_what_was_counted_is_the_same_whenever_it_is_asked_for() -> None:
    often, once = Metrics(), Metrics()
    for number in range(3 * COUNTED_AT_ONCE + 1):
        for metrics in (often, once):
            metrics.observe(record(tenant=f"t{number % 3}", cost=number, held=9, total_s=number / 100))
        often.render()
    assert read(often) == pytest.approx(read(once))
    assert value(once, "loupe_stage_seconds_count", stage="total") == 3 * COUNTED_AT_ONCE


def test_stages_are_told_apart() -> None:
    metrics = Metrics()
    metrics.observe(record(parse_s=0.1, decide_s=0.2, reserve_s=0.4, first_byte_s=0.8, total_s=1.6))
    metrics.staged("encode", 3.2)
    metrics.staged("forecast", 6.4)
    found = {stage: value(metrics, "loupe_stage_seconds_sum", stage=stage) for stage in STAGES}
    expected = {"parse": 0.1, "decide": 0.2, "reserve": 0.4, "first_byte": 0.8, "total": 1.6}
    assert found == {**expected, "encode": 3.2, "forecast": 6.4}


def test_spend_is_seen_beside_what_was_expected_and_what_the_dearest_would_have_cost() -> None:
    metrics = Metrics()
    metrics.observe(record(cost=3_000, expected_cost=2_000, dearest_cost=8_000))
    metrics.observe(record(cost=0, expected_cost=2_000, dearest_cost=8_000))
    who = {"tenant": "acme", "candidate": "small"}
    names = ("loupe_spend_usd_total", "loupe_expected_usd_total", "loupe_dearest_usd_total")
    assert [value(metrics, name, **who) * 1e9 for name in names] == pytest.approx([3_000, 2_000, 8_000])


def test_scores_are_summed_by_tenant_candidate_and_modality() -> None:
    metrics = Metrics()
    for score in (1.0, 0.25):
        metrics.labelled("acme", "small", "image", score)
    metrics.labelled("acme", "small", "text", 0.0)
    who = {"tenant": "acme", "candidate": "small"}
    assert value(metrics, "loupe_labelled_score_sum", **who, modality="image") == 1.25
    assert value(metrics, "loupe_labelled_score_count", **who, modality="image") == 2
    assert value(metrics, "loupe_labelled_score_count", **who, modality="text") == 1


def test_lambda_is_that_of_the_last_routed_request() -> None:
    metrics = Metrics()
    metrics.observe(record(price_weight=0.5))
    metrics.observe(record(price_weight=2.0))
    metrics.observe(record(price_weight=0.0, reason="pinned"))
    assert value(metrics, "loupe_lambda", tenant="acme") == 2.0
    attempts = (Attempt("dear", "http_503", 0), Attempt("small", None, 5))
    metrics.observe(record(price_weight=4.0, reason="routed;pace=day:1.2;fallback=dear:http_503", attempts=attempts))
    assert value(metrics, "loupe_lambda", tenant="acme") == 4.0
    assert value(metrics, "loupe_fallbacks_total", candidate="small") == 1


def test_tenants_past_the_largest_number_share_one_label() -> None:
    metrics = Metrics()
    for number in range(LARGEST_TENANTS + 50):
        metrics.observe(record(tenant=f"t{number}"))
    first = read(metrics)
    for number in range(LARGEST_TENANTS + 50):
        metrics.observe(record(tenant=f"t{number}"))
    for samples, times in ((first, 1), (read(metrics), 2)):
        requests = {
            dict(labels)["tenant"]: n for (name, labels), n in samples.items() if name == "loupe_requests_total"
        }
        assert len(requests) == LARGEST_TENANTS + 1
        assert requests["t0"] == times
        assert requests["other"] == 50 * times
        assert sum(name == "loupe_lambda" for name, _ in samples) == LARGEST_TENANTS
    metrics.watch_labelled("loupe_left", "Left", ("tenant",), lambda: {("all",): 1.0})
    assert value(metrics, "loupe_left", tenant="all") == 1  # what is read elsewhere is bounded there


def test_modalities_and_gauges_are_bounded() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.labelled("acme", "small", f"m{number}", 1.0)
    metrics.watch_labelled("loupe_many", "Many", ("what",), lambda: {(str(n),): 1.0 for n in range(LARGEST_GAUGES * 2)})
    samples = [name for name, _ in read(metrics)]
    assert samples.count("loupe_labelled_score_count") == 9
    assert value(metrics, "loupe_labelled_score_count", tenant="acme", candidate="small", modality="other") == 92
    assert samples.count("loupe_many") == LARGEST_GAUGES


def test_a_total_that_is_kept_elsewhere_is_a_counter() -> None:
    metrics = Metrics()
    metrics.watch("loupe_hits", "Hits", lambda: 7.0, total=True)
    assert value(metrics, "loupe_hits_total") == 7
    assert b"# TYPE loupe_hits_total counter" in metrics.render()


def test_an_info_is_its_labels() -> None:
    metrics = Metrics()
    metrics.watch_info("loupe_thing", "The thing in service", lambda: {"digest": "abc"})
    assert value(metrics, "loupe_thing_info", digest="abc") == 1


def test_sizes_are_a_histogram() -> None:
    metrics = Metrics()
    metrics.watch_sizes("loupe_sizes", "Sizes", (1.0, 2.0, 4.0), lambda: {1: 5, 3: 2, 9: 1})
    buckets = [value(metrics, "loupe_sizes_bucket", le=le) for le in ("1.0", "2.0", "4.0", "+Inf")]
    assert buckets == [5, 5, 7, 8]
    assert value(metrics, "loupe_sizes_sum") == 20


def test_nothing_observed_renders() -> None:
    assert b"loupe_requests_total" in Metrics().render()


ELSEWHERE = ("admin.py", "decisions.py", "status.py", "registry.py", "management.py", "schema.py")
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
    assert found - {"not_found", "starting"} <= CODES  # these two are only ever the REST side's


def every_kind(root: type[RequestError]) -> list[type[RequestError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in every_kind(child))]
