"""The life of a request, top to bottom: fetch, encode, forecast, decide, reserve, send, relay, settle, record."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from gateway.billing.reservation import OverLimit
from gateway.errors import ProviderError, RequestError
from gateway.pipeline.charge import Charge
from gateway.pipeline.chat_request import body_for, limit_to_send
from gateway.pipeline.failover import ATTEMPTS_WITHIN_S, Failover
from gateway.pipeline.keep_alive import PING_S, KeepAliveSink
from gateway.pipeline.observer import Observer
from gateway.pipeline.record import Attempt, RequestRecord, Versions
from gateway.pipeline.refusals import (
    infeasible,
    no_such_candidate,
    no_such_model,
    over_quota,
    provider_failed,
)
from gateway.pipeline.relay import Sink, relay_stream, relay_whole
from gateway.pipeline.remote_images import RemoteImages
from gateway.pipeline.reservations import Reservations
from gateway.pipeline.state import RequestState
from gateway.providers.base import Provider
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.circuit_breaker import Health, Rest, always_well
from gateway.routing.decision import Assessment, Decision, Preference, decide, fit_to_hold, price_weight_of
from gateway.routing.forecaster import Forecaster, Forecasts, NoForecast
from gateway.routing.pacing.controller import PacingController

AUTO = "auto"
LONGEST_SAID = 300
"""Characters of a failure that are kept for the request log."""
_log = logging.getLogger("loupe")


class Pipeline:
    """The service of requests. One instance per process; the composition root passes in every collaborator."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        policies: Mapping[str, float],
        forecaster: Forecaster,
        providers: Mapping[str, Provider],
        secrets: Mapping[str, tuple[str, ...]] | None = None,
        reservations: Reservations,
        controller: PacingController,
        images: RemoteImages,
        observers: Sequence[Observer],
        max_attempts: int,
        report: Callable[[str, BaseException], None],
        factors: Mapping[str, float] | None = None,
        versions: Versions | None = None,
        keeps_replies: bool = False,
        ping_s: float = PING_S,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._catalog = catalog
        self._policies = policies
        self._forecaster = forecaster
        self._providers = providers
        self._secrets = secrets or {}
        """By provider, the texts that must not be repeated from its replies."""
        self._reservations = reservations
        self._controller = controller
        self._images = images
        self._observers = observers
        self._max_attempts = max_attempts
        self._report = report
        self._factors = factors
        self._versions = versions
        self._keeps_replies = keeps_replies
        self._ping_s = ping_s
        self._clock = clock
        self._timer = timer
        self._sleep = sleep
        self._uniform = uniform
        self._warned: set[tuple[str, str]] = set()
        self._health = Health(candidate.name for candidate in catalog)
        self._orders: dict[tuple[str, ...], Sequence[Candidate]] = {}
        """Each tenant's candidates, by the names in their order; at most one entry per tenant."""

    async def serve(self, state: RequestState, sink: Sink) -> None:
        """Answer a request through the sink: reply or refuse, then settle and record, whatever happens."""
        if not state.request.streamed:
            return await self._answer(state, sink)
        kept = KeepAliveSink(sink, state, self._ping_s)
        try:
            return await self._answer(state, kept)
        finally:
            kept.stop()

    async def _answer(self, state: RequestState, sink: Sink) -> None:
        try:
            await self._serve(state, sink)
        except RequestError as error:
            state.refused(error)
            await sink.refuse(error, state.headers(state.cost))
        except Exception as error:  # an error of the gateway: the client is told nothing more
            self._report("pipeline", error)
            fault = RequestError("an error inside the gateway", status=500, kind="server_error", code="internal_error")
            state.refused(fault)
            if not sink.started:
                await sink.refuse(fault, state.headers(state.cost))
        except asyncio.CancelledError:
            state.outcome, state.status = "client_left", 499
            if not sink.client_left:  # the server is shutting down
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        finally:
            self._record(state)

    async def preview(self, state: RequestState) -> Decision:
        """Decide without sending: the dry run. Raises RequestError only for a request that cannot be read."""
        return await self._decide(state)

    async def _serve(self, state: RequestState, sink: Sink) -> None:
        decision = await self._decide(state)
        if not decision.choices:
            raise infeasible(decision, state.request, self._health.resting(state.timer()))
        if state.pacing_view is not None:
            decision = state.steer(state.pacing_view)
        refused: OverLimit | None = None
        failover = Failover(self._max_attempts)
        for choice in decision.choices:
            if failover.is_over or self._is_late(state):
                break
            if failover.passes_by(choice):
                continue
            refused = await self._try(state, choice, sink, failover) or refused
            if state.outcome:
                return
        if failover.failures:
            raise provider_failed(failover.failures)
        if refused is not None:
            raise over_quota(refused, self._clock(), decision)
        raise infeasible(decision, state.request)

    async def _try(self, state: RequestState, choice: Assessment, sink: Sink, failover: Failover) -> OverLimit | None:
        """Try one choice; a candidate that the client named once more, if it cannot have processed the request."""
        while True:
            try:
                return await self._attempt(state, choice, sink)
            except ProviderError as error:
                failover.failed(choice, error)
                self._warn_of(choice.candidate.name, error)
            wait = failover.pinned_wait_s(self._uniform()) if state.is_pinned else None
            if wait is None or failover.is_over or self._is_late(state, wait):
                return None
            await self._sleep(wait)

    def _is_late(self, state: RequestState, wait_s: float = 0.0) -> bool:
        return state.timer() + wait_s - state.began > ATTEMPTS_WITHIN_S

    def _warn_of(self, name: str, error: ProviderError) -> None:
        """Log the provider's words once for each candidate and cause, unless they only concern this request."""
        cause = (name, error.reason if error.fault is None else error.fault)
        if error.status is not None and error.fault not in ("invalid", "content_filter") and cause not in self._warned:
            self._warned.add(cause)
            _log.warning("candidate %s: %s (%s)", name, _told(error), error.fault)

    def resting(self) -> Mapping[str, Rest]:
        """Return the candidates that are not tried now, and why."""
        return self._health.resting(self._timer())

    async def _decide(self, state: RequestState) -> Decision:
        candidates, named, routed = self._resolve(state)
        state.request = await self._images.fetch(state.request)
        forecasts: Forecasts | None = None
        if routed:
            forecasts = await self._forecast(state)
        else:
            state.reason, state.is_pinned = "pinned", True
        state.preference = Preference(
            self._price_weight(state, named),
            state.request.cap,
            state.tenant.on_infeasible if routed else "refuse",
            self._factors or None,
        )
        began = state.timer()
        state.decision = decide(
            state.request.query,
            candidates,
            forecasts,
            state.preference,
            reference_cost=self._catalog.reference_cost,
            is_healthy=self._health.at(state.timer()) if routed else always_well,
        )
        state.decide_s = state.timer() - began
        return state.decision

    def _price_weight(self, state: RequestState, named: float | None) -> float:
        """Return the price weight of the quality weight that the request names, or else of its tenant's.

        Pacing raises the price weight while the tenant spends too fast.
        """
        state.pacing_view = pacing_view = self._controller.pacing_view(state.tenant)
        if pacing_view is None:
            return price_weight_of(state.tenant.quality_weight if named is None else named)
        price_weight, state.scale, state.pace = pacing_view.price_weight(named)
        return price_weight

    def _resolve(self, state: RequestState) -> tuple[Sequence[Candidate], float | None, bool]:
        """Return the candidates in the tenant's order, the requested quality weight, and whether to route at all."""
        request, tenant = state.request, state.tenant
        order = self._order(tenant.candidates)
        if request.model != AUTO and request.model not in self._policies:
            pinned = [c for c in order if c.name == request.model]
            if not pinned:
                raise no_such_model(request.model)
            return pinned, 1.0, False
        if request.allowed is not None:
            for name in request.allowed:
                if all(candidate.name != name for candidate in order):
                    raise no_such_candidate(name)
            order = [candidate for candidate in order if candidate.name in request.allowed]
        weight = request.quality_weight
        if weight is None:
            weight = self._policies.get(request.model)
        return order, weight, True

    def _order(self, names: tuple[str, ...]) -> Sequence[Candidate]:
        order = self._orders.get(names)
        if order is None:
            order = tuple(c for c in map(self._catalog.get, names) if c is not None)
            self._orders[names] = order
        return order

    async def _forecast(self, state: RequestState) -> Forecasts | None:
        request = state.request
        forecaster = self._forecaster.current
        state.router_digest = forecaster.digest
        known = forecaster.known(request.query.text, request.images)
        if known is not None:
            state.reason = "routed"
            return known
        began = state.timer()
        found = await forecaster.forecast(request.query.text, request.images)
        state.encode_s = state.timer() - began
        if isinstance(found, NoForecast):
            state.reason = f"declined:{found.reason}"
            return None
        state.reason = "routed"
        return found

    async def _attempt(self, state: RequestState, choice: Assessment, sink: Sink) -> OverLimit | None:
        """Reserve, send, relay and settle one choice.

        Returns the refusal if the reservation did not fit. Raises ProviderError if the attempt failed with nothing
        relayed.
        """
        request, name = state.request, choice.candidate.name
        max_cost = choice.max_cost if request.cap is None else min(choice.max_cost, request.cap - state.cost)
        min_budget = min(choice.min_budget, choice.max_cost)
        if max_cost < min_budget:
            return None
        reservation = state.reservation(choice, (max_cost, min_budget), self._reservations.ttl_s)
        charge = Charge(choice, request.query)
        settled = False

        async def settle() -> None:
            nonlocal settled
            if not settled:
                settled = True
                amount = charge.amount
                state.cost += amount
                await self._reservations.settle(reservation.id, amount, charge.tokens)

        began = state.timer()
        try:
            granted = await self._reservations.reserve(reservation)
            state.reserve_s += state.timer() - began
            if isinstance(granted, OverLimit):
                settled = True
                state.refused_hold(granted)
                return granted
            charge.granted = granted.amount
            state.chosen(choice, granted)
            try:
                await self._exchange(state, choice, charge, settle, sink)
            except ProviderError as error:
                error.hide(self._secrets.get(choice.candidate.provider, ()))
                self._health.failed(name, state.timer(), error)
                state.attempts.append(Attempt(name, error.reason, charge.amount, _told(error)))
                raise
            if state.error_code is None:
                self._health.served(name, began)
            else:  # the reply broke off midway
                self._health.failed(name, state.timer(), ProviderError(state.error_code, reason=state.error_code))
            state.attempts.append(Attempt(name, None, charge.amount))
            return None
        finally:
            await settle()

    async def _exchange(
        self,
        state: RequestState,
        choice: Assessment,
        charge: Charge,
        settle: Callable[[], Coroutine[Any, Any, None]],
        sink: Sink,
    ) -> None:
        candidate = choice.candidate
        limit = fit_to_hold(choice, state.request.query, charge.granted)
        body = body_for(
            state.request,
            candidate.provider_model,
            candidate.limit_parameter,
            limit_to_send(state.request, candidate, limit),
            reports_usage=candidate.reports_usage,
            drops=candidate.drops,
            knows_developer=candidate.capabilities.knows_developer,
        )
        self._health.begin(candidate.name, state.timer())
        charge.sent()
        since = state.timer()
        try:
            exchange = await self._providers[candidate.provider].send(
                body, state.request_id, streamed=state.request.streamed
            )
        except ProviderError as error:
            if error.is_abandoned:
                charge.abandoned()
            else:
                charge.unsent()
            raise
        finally:
            state.waited_s += state.timer() - since
        state.first_byte()
        relay = relay_stream if state.request.streamed else relay_whole
        try:
            await relay(state, exchange, charge, settle, sink)
        finally:
            exchange.close()

    def _record(self, state: RequestState) -> None:
        digest = state.router_digest or self._forecaster.current.digest
        record: RequestRecord = state.record(digest, self._versions, with_reply=self._keeps_replies)
        if state.pacing_view is not None and state.planned_cost is not None:
            state.pacing_view.finished(state.planned_cost, state.cost, is_refused=state.is_out_of_money)
        for observer in self._observers:
            observer.observe(record)


def _told(error: ProviderError) -> str:
    """Return what may be logged of a failure. A refusal that blames the request may repeat the prompt: of that only the
    provider's labels.
    """
    if not error.blames_request:
        return str(error)[:LONGEST_SAID]
    labels = (error.reason, error.fault, error.code, error.param)
    return " ".join(label for label in labels if label)[:LONGEST_SAID]
