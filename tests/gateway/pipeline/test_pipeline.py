"""The pipeline, through its protocols: what is served, tried next, refused, timed, settled and recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.billing.reservation import Grant, OverLimit
from gateway.billing.window import Budget, Window
from gateway.errors import ProviderError, RequestError, StoreError
from gateway.pipeline.chat_request import ChatRequest
from gateway.pipeline.record import Attempt, Versions
from gateway.routing.decision import price_weight_of
from gateway.tenants.tenant import Tenant
from tests.fakes.clock import HandClock
from tests.fakes.provider import ScriptedReply, refusal, whole_reply
from tests.fakes.requests import a_request
from tests.fakes.sink import FakeSink
from tests.fakes.steering import FakeCourse
from tests.gateway.billing.makers import candidate
from tests.gateway.providers.harness.streams import DONE, ended, said, usage

from ..api.bodies import data_url, image, png
from .house import ACME, CHEAP, DEAR, FORECASTS, MORNING, PLAIN, House

SPENT = OverLimit(Window("acme/day/x", 5_000, 0.0, MORNING + 90.0), 0, 0)


def a_failure(reason: str = "broke_off") -> ProviderError:
    return ProviderError(f"provider: {reason}", reason=reason)


def test_the_best_choice_serves_and_its_exact_cost_is_told_settled_and_recorded() -> None:
    """By hand: 10 tokens of input at 10 and 5 of output at 40 are 300 nanodollars."""
    house = House()
    sink, record = house.serve()
    assert (sink.status, sink.complete, b"Hello" in sink.body) == (200, True, True)
    assert sink.headers["x-route-candidate"] == "good"
    assert sink.headers["x-route-cost"] == "0.0000003"
    assert house.provider.asked == ["good-served"]
    assert house.ledger.settled == [("acme/req_1.0", 300, 15)]
    assert (record.candidate, record.reason, record.outcome, record.status) == ("good", "routed", "ok", 200)
    assert (record.cost, record.input_tokens, record.output_tokens, record.metered) == (300, 10, 5, False)
    assert record.attempts == (Attempt("good", None, 300),)
    assert (record.error_code, record.finish_reason, record.router_digest) == (None, "stop", "fake-router")
    assert (record.reply, record.versions, house.reported) == (None, None, [])
    assert house.provider.exchanges[0].is_closed


def test_the_ceiling_is_held_and_the_provider_is_told_the_limit_it_pays_for() -> None:
    house = House()
    _, record = house.serve()
    [reservation] = house.ledger.reserved
    assert record.decision is not None
    best = record.decision.choices[0]
    assert (reservation.max_cost, reservation.min_budget, reservation.ttl_s) == (best.max_cost, best.min_budget, 60.0)
    assert reservation.max_cost > reservation.min_budget > 0
    assert (reservation.tokens, reservation.requests, record.held) == (best.expected_tokens, 1, best.max_cost)
    assert house.provider.bodies[0]["max_tokens"] == best.output_limit == 4_096


def test_a_hold_that_was_cut_cuts_the_reply_too() -> None:
    house = House()
    _, whole = house.serve()
    assert whole.decision is not None
    best = whole.decision.choices[0]
    cut = House(answers=[Grant(best.min_budget, 7)])
    sink, record = cut.serve()
    assert cut.provider.bodies[0]["max_tokens"] == best.needed_output_tokens == 200
    assert (record.held, record.remaining) == (best.min_budget, 7)
    assert sink.headers["x-budget-remaining"] == f"{(7 + best.min_budget - 300) / 1e9:.9f}".rstrip("0")


def test_a_failed_attempt_costs_nothing_and_the_next_choice_serves() -> None:
    house = House([refusal("http_503"), whole_reply()])
    sink, record = house.serve()
    assert house.provider.asked == ["good-served", "fair-served"]
    assert house.ledger.settled == [("acme/req_1.0", 0, 0), ("acme/req_1.1", 30, 15)]
    assert [reservation.requests for reservation in house.ledger.reserved] == [1, 0]
    assert record.attempts == (Attempt("good", "http_503", 0, "provider: http_503"), Attempt("fair", None, 30))
    assert (record.candidate, record.cost, record.propensity) == ("fair", 30, 0.0)
    assert sink.headers["x-route-reason"] == record.reason == "routed;fallback=good:http_503"


def test_a_whole_reply_that_breaks_off_is_charged_what_was_sent_and_the_next_choice_serves() -> None:
    house = House([ScriptedReply(breaks=a_failure()), whole_reply()])
    sink, record = house.serve()
    assert record.decision is not None
    lost = 10 * record.decision.choices[0].input_tokens  # our own count; nothing of the reply was seen
    assert record.attempts == (Attempt("good", "broke_off", lost, "provider: broke_off"), Attempt("fair", None, 30))
    assert [amount for _, amount, _ in house.ledger.settled] == [lost, 30]
    assert record.cost == lost + 30
    assert sink.status == 200


def test_no_more_attempts_are_made_than_the_configuration_allows() -> None:
    house = House([refusal(), refusal()], options={"max_attempts": 2})
    sink, record = house.serve()
    assert house.provider.asked == ["good-served", "fair-served"]
    assert (sink.status, sink.refusal.code) == (502, "provider_failed")
    assert sink.refusal.message == "no candidate answered (provider: http_503; provider: http_503)"
    assert (record.outcome, record.status, record.error_code) == ("failed", 502, "provider_failed")
    assert record.cost == 0


def test_a_request_that_no_candidate_fits_is_told_the_price_that_would_do() -> None:
    house = House()
    sink, record = house.serve(a_request(budget=b"0.00000001"))
    assert (sink.status, sink.refusal.code) == (402, "budget_infeasible")
    assert (record.outcome, record.candidate, record.attempts) == ("refused", None, ())
    assert [why for _, why in record.dropped] == ["over_cap"] * 3
    assert (house.ledger.reserved, house.provider.asked) == ([], [])


def test_a_tenant_that_takes_the_cheapest_is_served_over_nothing_but_a_cap() -> None:
    tenant = Tenant("acme", ACME.candidates, 1.0, on_infeasible="cheapest", pacing=None)
    _, found = House().serve()
    assert found.decision is not None
    below = min(choice.min_budget for choice in found.decision.choices) - 100
    house = House()
    _, record = house.serve(a_request(budget=f"{below / 1e9:.9f}".encode()), tenant=tenant)
    assert record.outcome == "ok"
    [reservation] = house.ledger.reserved
    assert reservation.min_budget <= reservation.max_cost <= below
    refused = House()
    request = a_request(model="fair", budget=f"{below / 1e9:.9f}".encode())
    assert refused.serve(request, tenant=tenant)[0].status == 402, "who names a candidate is not given less of it"


def test_a_reservation_that_does_not_fit_leaves_the_next_choice_its_chance() -> None:
    house = House(answers=[SPENT])
    sink, record = house.serve()
    assert house.provider.asked == ["fair-served"]
    assert (sink.status, record.candidate) == (200, "fair")
    assert record.attempts == (Attempt("fair", None, 30),)
    assert house.ledger.settled == [("acme/req_1.1", 30, 15)], "what was refused holds nothing"
    assert [reservation.requests for reservation in house.ledger.reserved] == [1, 1]


def test_a_budget_that_fits_no_choice_is_a_429_that_says_when_to_come_again() -> None:
    house = House([], answers=[SPENT, SPENT, SPENT])
    sink, record = house.serve()
    assert (sink.status, sink.refusal.code) == (429, "insufficient_quota")
    assert "it may succeed in 90 s" in sink.refusal.message
    assert (record.outcome, record.error_code, record.attempts) == ("refused", "insufficient_quota", ())
    assert len(house.ledger.reserved) == 3
    assert house.ledger.settled == []


def test_the_last_window_that_refused_is_the_one_that_is_told() -> None:
    later = OverLimit(Window("acme/month/x", 5_000, 0.0, MORNING + 900.0), 0, 0)
    sink, _ = House([], answers=[SPENT, SPENT, later]).serve()
    assert sink.refusal.retry_after_s == 900


def test_a_failed_attempt_outweighs_a_refused_reservation() -> None:
    sink, record = House([refusal()], answers=[SPENT, Grant(10**9, None), SPENT]).serve()
    assert (sink.status, sink.refusal.code) == (502, "provider_failed")
    assert [attempt.candidate for attempt in record.attempts] == ["fair"]


def test_attempts_share_one_cap_and_stop_when_it_is_used_up() -> None:
    """By hand: the first attempt costs its input, 10 a token; the next may take what the cap leaves, or nothing."""
    _, found = House().serve()
    assert found.decision is not None
    best, fair = found.decision.choices[:2]
    lost = 10 * best.input_tokens
    broken = ScriptedReply(breaks=a_failure())
    roomy = House([broken, whole_reply()])
    _, record = roomy.serve(a_request(budget=f"{best.min_budget / 1e9:.9f}".encode()))
    assert [reservation.max_cost for reservation in roomy.ledger.reserved] == [
        best.min_budget,
        min(fair.max_cost, best.min_budget - lost),
    ]
    assert (record.outcome, record.cost) == ("ok", lost + 30)

    alike = tuple(candidate(name, DEAR) for name in FORECASTS)
    tight = House([broken], candidates=alike)
    sink, record = tight.serve(a_request(budget=f"{best.min_budget / 1e9:.9f}".encode()))
    assert len(tight.ledger.reserved) == 1, "what is left covers none of the others"
    assert (sink.status, record.cost) == (502, lost)


def test_a_cap_that_is_just_enough_is_held_in_full() -> None:
    _, found = House().serve()
    assert found.decision is not None
    min_budget = found.decision.choices[0].min_budget
    house = House()
    _, record = house.serve(a_request(budget=f"{min_budget / 1e9:.9f}".encode()))
    [reservation] = house.ledger.reserved
    assert (record.candidate, reservation.max_cost, reservation.min_budget) == ("good", min_budget, min_budget)


def test_a_client_that_leaves_cancels_the_call_and_pays_for_what_was_sent() -> None:
    sink = FakeSink()
    house = House([ScriptedReply(during=sink.leave)])

    async def run() -> bool:
        await house.pipeline.serve(house.turn(), sink)
        task = asyncio.current_task()
        return task is not None and task.cancelling() == 0

    assert asyncio.run(run()), "whoever runs the request goes on"
    record = house.record
    assert (record.outcome, record.status, record.error_code) == ("client_left", 499, None)
    assert record.decision is not None
    tokens = record.decision.choices[0].input_tokens
    assert (record.cost, house.ledger.settled) == (10 * tokens, [("acme/req_1.0", 10 * tokens, tokens)])
    assert (sink.started, record.attempts, house.reported) == (False, (), [])


def test_a_server_that_goes_down_is_not_held_up() -> None:
    house = House([ScriptedReply(refuses=asyncio.CancelledError())])
    with pytest.raises(asyncio.CancelledError):
        house.serve()
    assert (house.record.outcome, house.record.status) == ("client_left", 499)
    assert len(house.ledger.settled) == 1


def test_an_error_inside_the_gateway_is_reported_and_the_client_told_no_more_than_that() -> None:
    house = House([ScriptedReply(refuses=ZeroDivisionError("secret"))])
    sink, record = house.serve()
    assert house.reported == ["pipeline: secret"]
    assert (sink.status, sink.refusal.code) == (500, "internal_error")
    assert "secret" not in sink.refusal.message
    assert (record.outcome, record.status, record.error_code) == ("failed", 500, "internal_error")
    assert len(house.ledger.settled) == 1


def test_an_error_after_the_reply_began_refuses_nothing_any_more() -> None:
    sink = FakeSink(fail=ZeroDivisionError("late"))
    house = House()
    _, record = house.serve(sink=sink)
    assert house.reported == ["pipeline: late"]
    assert (sink.status, sink.refusals) == (200, [])
    assert (record.outcome, record.error_code, record.cost) == ("failed", "internal_error", 300)
    assert house.ledger.settled == [("acme/req_1.0", 300, 15)], "settled once"


def test_a_ledger_that_does_not_answer_is_a_503_and_nothing_is_sent() -> None:
    house = House([], answers=[StoreError("away")])
    sink, record = house.serve()
    assert (sink.status, sink.refusal.code) == (503, "store_unavailable")
    assert (record.outcome, record.attempts, house.provider.asked) == ("failed", (), [])
    assert house.ledger.settled == [("acme/req_1.0", 0, 0)], "the ledger may have taken it all the same"


def test_an_image_that_can_not_be_had_is_refused_before_anything_is_decided() -> None:
    house = House([])
    sink, record = house.serve(a_request(content=[image("https://example.com/x.png")]))
    assert (sink.status, sink.refusal.code) == (400, "invalid_image")
    assert sink.refusal.param == "messages[0].content[0].image_url.url"
    assert (record.reason, record.decision, record.router_digest) == ("unrouted", None, "fake-router")


def test_an_attempt_that_breaks_off_midway_is_over_and_counts_against_its_candidate() -> None:
    house = House([ScriptedReply((said("Hello"),), breaks=a_failure())] * 5 + [whole_reply()])
    for _ in range(5):
        house.forget()
        sink, record = house.serve(a_request(streamed=True))
        assert (sink.status, record.outcome, record.error_code) == (200, "cut_short", "broke_off")
        assert record.attempts == (Attempt("good", None, record.cost),)
    house.forget()
    _, record = house.serve()
    assert (record.candidate, record.dropped) == ("fair", (("good", "resting_after_failures"),))


def failed_in_a_row(times: int) -> House:
    """`good` failed so often, and `fair` served instead."""
    house = House([refusal(), whole_reply()] * times + [whole_reply()] * 5)
    for _ in range(times):
        house.serve()
        house.forget()
    return house


def test_a_candidate_that_keeps_failing_rests_and_is_tried_again() -> None:
    assert failed_in_a_row(4).serve()[1].candidate == "good"
    house = failed_in_a_row(5)
    _, record = house.serve()
    assert (record.candidate, record.dropped) == ("fair", (("good", "resting_after_failures"),))
    house.forget()
    house.clock.turn(10.0)
    assert house.serve()[1].candidate == "good"


def test_a_candidate_that_answered_is_well_again() -> None:
    house = failed_in_a_row(4)
    assert house.serve()[1].candidate == "good"
    house.provider.replies[:] = [refusal(), whole_reply(), whole_reply()]
    house.forget()
    house.serve()
    house.forget()
    assert house.serve()[1].candidate == "good", "one failure since, not five"


def test_a_refused_request_does_not_count_among_its_candidates_failures() -> None:
    house = failed_in_a_row(4)
    house.provider.replies[:] = [
        refusal("http_400", fault="invalid", status=400),
        refusal(),
        whole_reply(),
        whole_reply(),
    ]
    for _ in range(2):
        house.serve()
        house.forget()
    assert house.serve()[1].candidate == "good"


def test_a_candidate_that_is_named_is_tried_while_it_rests() -> None:
    house = failed_in_a_row(5)
    _, record = house.serve(a_request(model="good"))
    assert (record.candidate, record.reason, record.outcome) == ("good", "pinned", "ok")


def test_while_one_attempt_tries_a_rested_candidate_others_pass_it_by() -> None:
    house, seen = failed_in_a_row(5), []
    house.clock.turn(10.0)

    async def ask() -> None:
        decision = await house.pipeline.preview(house.turn())
        seen.append(decision.choices[0].candidate.name)

    house.provider.replies[:] = [ScriptedReply(whole_reply().chunks, during=ask)]
    _, record = house.serve()
    assert (record.candidate, seen) == ("good", ["fair"])


def test_a_named_candidate_is_served_without_a_forecast() -> None:
    house = House()
    _, record = house.serve(a_request(model="fair"))
    assert (record.candidate, record.reason, record.forecast_quality) == ("fair", "pinned", None)
    assert (record.encode_s, house.encoder.asked, record.dropped) == (0.0, [], ())


@pytest.mark.parametrize("model", ["nobody", "secret"])
def test_a_model_that_is_not_there_or_not_the_tenants_is_a_404(model: str) -> None:
    house = House([], candidates=(*PLAIN, candidate("secret")))
    sink, record = house.serve(a_request(model=model))
    assert (sink.status, sink.refusal.code, record.decision) == (404, "model_not_found", None)


def test_only_the_candidates_that_a_request_allows_are_weighed() -> None:
    _, record = House().serve(a_request(headers={b"x-candidates": b"poor, fair"}))
    assert record.candidate == "fair"
    assert record.decision is not None
    assert {choice.candidate.name for choice in record.decision.choices} == {"poor", "fair"}
    sink, _ = House([]).serve(a_request(headers={b"x-candidates": b"fair, nobody"}))
    assert (sink.status, sink.refusal.param) == (400, "X-Candidates")
    assert "'nobody'" in sink.refusal.message


def test_a_tenants_candidate_that_the_catalog_lost_is_passed_over() -> None:
    _, record = House().serve(tenant=Tenant("acme", ("gone", "fair"), 1.0, pacing=None))
    assert record.candidate == "fair"


@pytest.mark.parametrize(
    ("model", "headers", "weight"),
    [
        ("auto", {}, 0.5),
        ("frugal", {}, 0.25),
        ("auto", {b"x-quality-weight": b"0.8"}, 0.8),
        ("frugal", {b"x-quality-weight": b"0.8"}, 0.8),
    ],
    ids=["the tenant's", "the policy's", "the request's", "the request's before the policy's"],
)
def test_the_nearest_word_on_price_against_quality_counts(
    model: str, headers: dict[bytes, bytes], weight: float
) -> None:
    tenant = Tenant("acme", ACME.candidates, 0.5, pacing=None)
    _, record = House().serve(a_request(model=model, headers=headers), tenant=tenant)
    assert record.price_weight == price_weight_of(weight)


def test_without_a_forecast_the_tenants_own_order_serves() -> None:
    house = House(encoder_fails=True)
    _, record = house.serve()
    assert (record.candidate, record.reason) == ("poor", "declined:encoder_failed")
    assert (record.outcome, record.forecast_quality, record.router_digest) == ("ok", None, "fake-router")
    assert house.reported == ["encoder_failed: the fake encoder was told to fail"]


def test_a_query_that_was_seen_before_is_not_encoded_again() -> None:
    house = House([whole_reply(), whole_reply()], encode_s=0.5)
    assert house.serve()[1].encode_s == 0.5
    house.forget()
    _, record = house.serve()
    assert (record.encode_s, record.reason, len(house.encoder.asked)) == (0.0, "routed", 1)


def test_a_preview_decides_and_neither_holds_nor_sends_nor_records() -> None:
    house = House([])
    state = house.turn()
    decision = asyncio.run(house.pipeline.preview(state))
    assert [choice.candidate.name for choice in decision.choices] == ["good", "fair", "poor"]
    assert (state.reason, state.decision) == ("routed", decision)
    assert (house.ledger.reserved, house.provider.asked) == ([], [])
    assert [observer.records for observer in house.observers] == [[], []]
    with pytest.raises(RequestError):
        asyncio.run(house.pipeline.preview(house.turn(a_request(model="nobody"))))


def test_what_expected_costs_were_off_by_changes_the_order() -> None:
    even = (candidate("good", CHEAP), candidate("fair", CHEAP))
    weight = Tenant("acme", ("good", "fair"), 0.5, pacing=None)
    assert House(candidates=even).serve(tenant=weight)[1].candidate == "good"
    house = House(candidates=even, options={"factors": {"good": 3.0}})
    _, record = house.serve(tenant=weight)
    assert record.candidate == "fair"


def test_replies_and_versions_stand_in_the_record_where_they_are_kept() -> None:
    versions = Versions("encoder", "prices", "configuration")
    _, record = House(options={"keeps_replies": True, "versions": versions}).serve()
    assert record.reply is not None
    assert (record.reply.said(), record.versions) == ("Hello", versions)


def test_a_tenant_that_is_paced_pays_its_lambda_and_counts_what_came_of_it() -> None:
    pacing_view = FakeCourse(2.5, scale=0.75)
    house = House(pacing_view=pacing_view)
    _, record = house.serve()
    assert (record.price_weight, pacing_view.named, pacing_view.scales) == (2.5, [None], [0.75])
    assert record.decision is not None
    assert pacing_view.finishes == [(record.decision.choices[0].expected_cost, 30, False)]
    assert record.reason == "routed;pace=0.5@acme/day"


def test_pacing_hears_of_a_request_that_money_was_short_for_and_of_none_that_was_not_counted() -> None:
    short, unfit = FakeCourse(0.0), FakeCourse(0.0)
    House([], answers=[SPENT] * 3, pacing_view=short).serve()
    assert [(amount, is_refused) for _, amount, is_refused in short.finishes] == [(0, True)]
    House([], pacing_view=unfit).serve(a_request(budget=b"0"))
    assert unfit.finishes == []


def slow_formula(clock: HandClock, seconds: float) -> Any:
    """An image-token formula that takes so long: a decision takes as long as its candidates' formulas do."""

    def tokens(width: int, height: int, detail: str) -> int:
        clock.turn(seconds)
        return 100

    return tokens


def slow_house(replies: Sequence[ScriptedReply]) -> tuple[House, ChatRequest]:
    """Encoding takes 0.25 s, a decision 0.5 s (one candidate, one image), a reservation 1 s."""
    clock = HandClock(100.0)
    only = candidate("fair", CHEAP, image_tokens=slow_formula(clock, 0.5))
    house = House(replies, candidates=(only,), encode_s=0.25, clock=clock)
    house.ledger.reserve_s = 1.0
    return house, a_request(content=[image(data_url(png()))])


def test_every_stage_of_a_whole_reply_is_timed_exactly() -> None:
    """By hand: 0.25 + 0.5 + 1 of our own, then 2 until the first byte and twice 4 to read the reply and its end."""
    house, request = slow_house([whole_reply(first_s=2.0, read_s=4.0)])
    _, record = house.serve(request)
    assert (record.encode_s, record.decide_s, record.reserve_s) == (0.25, 0.5, 1.0)
    assert record.first_byte_s == 3.75
    assert (record.total_s, record.overhead_s) == (11.75, 1.75)
    assert record.started_at == MORNING


def test_every_stage_of_a_stream_is_timed_exactly() -> None:
    """By hand: 1.75 of our own; 2 until the first byte; three reads of 4, the last of which sees the end."""
    chunks = (said("Hello"), ended(usage=usage()), DONE)
    house, request = slow_house([ScriptedReply(chunks, first_s=2.0, read_s=4.0)])
    streamed = request._replace(streamed=True)
    sink, record = house.serve(streamed)
    assert (record.first_byte_s, record.total_s, record.overhead_s) == (3.75, 15.75, 1.75)
    assert sink.complete


def test_stages_of_several_attempts_add_up() -> None:
    """By hand: two reservations of 1; 2 lost on the first attempt, 2 + 2 * 4 waited on the second."""
    house = House([refusal(first_s=2.0), whole_reply(first_s=2.0, read_s=4.0)], encode_s=0.25)
    house.ledger.reserve_s = 1.0
    _, record = house.serve()
    assert (record.reserve_s, record.first_byte_s) == (2.0, 6.25)
    assert (record.total_s, record.overhead_s) == (14.25, 2.25)


def test_a_request_that_is_refused_is_timed_as_far_as_it_came() -> None:
    house = House([], encode_s=0.25)
    _, record = house.serve(a_request(budget=b"0"))
    assert (record.total_s, record.overhead_s, record.encode_s) == (0.25, 0.25, 0.25)
    assert (record.first_byte_s, record.reserve_s) == (None, 0.0)


def test_the_windows_of_a_tenant_and_a_session_are_all_held_in() -> None:
    tenant = Tenant("acme", ACME.candidates, 1.0, budgets=(Budget(10**9, "day"),), pacing=None)
    house = House()
    headers = {b"x-session-id": b"s", b"x-session-budget": b"1"}
    house.serve(a_request(headers=headers), tenant=tenant)
    [reservation] = house.ledger.reserved
    day, session = reservation.windows
    assert day.key == "acme/day/2026-01-01T00:00"
    assert session.key.startswith("acme/session/")
