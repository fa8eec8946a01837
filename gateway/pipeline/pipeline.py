"""The life of a request, top to bottom: fetch, encode, forecast, decide, reserve, send, relay, settle, record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from gateway.billing.reservation import OverLimit
from gateway.errors import ProviderError, RequestError
from gateway.pipeline.charge import Charge
from gateway.pipeline.chat_request import body_for
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
from gateway.routing.circuit_breaker import Health, always_well
from gateway.routing.decision import Assessment, Decision, Preference, decide, fit_to_hold, lagrangian_of
from gateway.routing.forecaster import Forecaster, Forecasts, NoForecast
from gateway.routing.pacing.controller import PacingController

AUTO = "auto"


class Pipeline:
    """Serves requests. One instance a process; every collaborator comes in from the composition root."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        policies: Mapping[str, float],
        forecaster: Forecaster,
        providers: Mapping[str, Provider],
        holds: Reservations,
        steering: PacingController,
        images: RemoteImages,
        observers: Sequence[Observer],
        max_attempts: int,
        report: Callable[[str, BaseException], None],
        factors: Mapping[str, float] | None = None,
        versions: Versions | None = None,
        keeps_replies: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._policies = policies
        self._forecaster = forecaster
        self._providers = providers
        self._holds = holds
        self._steering = steering
        self._images = images
        self._observers = observers
        self._max_attempts = max_attempts
        self._report = report
        self._factors = factors
        self._versions = versions
        self._keeps_replies = keeps_replies
        self._clock = clock
        self._health = Health(candidate.name for candidate in catalog)
        self._orders: dict[tuple[str, ...], Sequence[Candidate]] = {}
        """Each tenant's candidates; as many as there are tenants."""

    async def serve(self, turn: RequestState, sink: Sink) -> None:
        """Answer a request through the sink: a reply or a refusal, then settle and record, whatever happens."""
        try:
            await self._serve(turn, sink)
        except RequestError as error:
            turn.refused(error)
            await sink.refuse(error, turn.headers(turn.cost))
        except Exception as error:  # a fault of ours: the client is told no more than that
            self._report("pipeline", error)
            fault = RequestError("an error inside the gateway", status=500, code="internal_error")
            turn.refused(fault)
            if not sink.started:
                await sink.refuse(fault, turn.headers(turn.cost))
        except asyncio.CancelledError:
            turn.outcome, turn.status = "client_left", 499
            if not sink.client_left:  # the server is going down
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        finally:
            self._record(turn)

    async def preview(self, turn: RequestState) -> Decision:
        """Decide without sending: the dry run. Raises RequestError only for a request that can not be read."""
        return await self._decide(turn)

    async def _serve(self, turn: RequestState, sink: Sink) -> None:
        decision = await self._decide(turn)
        if not decision.choices:
            raise infeasible(decision, turn.request)
        if turn.course is not None:
            decision = turn.steer(turn.course)
        refused: OverLimit | None = None
        for choice in decision.choices:
            if len(turn.attempts) >= self._max_attempts:
                break
            try:
                refused = await self._attempt(turn, choice, sink) or refused
            except ProviderError as error:
                if error.permanent:
                    raise provider_failed([error]) from None
                turn.failures.append(error)
                continue
            if turn.outcome:
                return
        if turn.failures:
            raise provider_failed(turn.failures)
        if refused is not None:
            raise over_quota(refused, self._clock())
        raise infeasible(decision, turn.request)

    async def _decide(self, turn: RequestState) -> Decision:
        candidates, named, routed = self._resolve(turn)
        turn.request = await self._images.fetch(turn.request)
        forecasts: Forecasts | None = None
        if routed:
            forecasts = await self._forecast(turn)
        else:
            turn.reason = "pinned"
        turn.preference = Preference(
            self._lagrangian(turn, named),
            turn.request.cap,
            turn.tenant.on_infeasible if routed else "refuse",
            self._factors or None,
        )
        began = turn.timer()
        turn.decision = decide(
            turn.request.query,
            candidates,
            forecasts,
            turn.preference,
            reference_cost=self._catalog.reference_cost,
            is_healthy=self._health.at(turn.timer()) if routed else always_well,
        )
        turn.decide_s = turn.timer() - began
        return turn.decision

    def _lagrangian(self, turn: RequestState, named: float | None) -> float:
        """Of the quality weight that the request names, or its tenant's; raised while pacing finds money short."""
        turn.course = course = self._steering.course(turn.tenant)
        if course is None:
            return lagrangian_of(turn.tenant.quality_weight if named is None else named)
        lagrangian, turn.scale, turn.pace = course.lagrangian(named)
        return lagrangian

    def _resolve(self, turn: RequestState) -> tuple[Sequence[Candidate], float | None, bool]:
        """The candidates in the tenant's order, the quality weight that was asked for, and whether to route at all."""
        request, tenant = turn.request, turn.tenant
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

    async def _forecast(self, turn: RequestState) -> Forecasts | None:
        request = turn.request
        forecaster = self._forecaster.current
        turn.router_digest = forecaster.digest
        known = forecaster.known(request.query.text, request.images)
        if known is not None:
            turn.reason = "routed"
            return known
        began = turn.timer()
        found = await forecaster.forecast(request.query.text, request.images)
        turn.encode_s = turn.timer() - began
        if isinstance(found, NoForecast):
            turn.reason = f"declined:{found.reason}"
            return None
        turn.reason = "routed"
        return found

    async def _attempt(self, turn: RequestState, choice: Assessment, sink: Sink) -> OverLimit | None:
        """Reserve, send, relay and settle one choice.

        Returns the refusal when its hold did not fit. Raises ProviderError when it failed with nothing relayed.
        """
        request, name = turn.request, choice.candidate.name
        ceiling = choice.ceiling if request.cap is None else min(choice.ceiling, request.cap - turn.cost)
        floor = min(choice.floor, choice.ceiling)
        if ceiling < floor:
            return None
        hold = turn.hold(choice, (ceiling, floor), self._holds.lease_s)
        bill = Charge(choice, request.query)
        settled = False

        async def settle() -> None:
            nonlocal settled
            if not settled:
                settled = True
                charge = bill.charge
                turn.cost += charge
                await self._holds.settle(hold.id, charge, bill.tokens)

        try:
            began = turn.timer()
            granted = await self._holds.reserve(hold)
            turn.reserve_s += turn.timer() - began
            if isinstance(granted, OverLimit):
                settled = True
                turn.refused_hold(granted)
                return granted
            bill.granted = granted.amount
            turn.chosen(choice, granted)
            try:
                await self._exchange(turn, choice, bill, settle, sink)
            except ProviderError as error:
                self._health.note(name, turn.timer(), well=error.permanent)
                turn.attempts.append(Attempt(name, error.reason, bill.charge))
                raise
            self._health.note(name, turn.timer(), well=turn.error_code is None)  # not well: it broke off midway
            turn.attempts.append(Attempt(name, None, bill.charge))
            return None
        finally:
            await settle()

    async def _exchange(
        self,
        turn: RequestState,
        choice: Assessment,
        bill: Charge,
        settle: Callable[[], Coroutine[Any, Any, None]],
        sink: Sink,
    ) -> None:
        candidate = choice.candidate
        limit = fit_to_hold(choice, turn.request.query, bill.granted)
        body = body_for(turn.request, candidate.provider_model, candidate.limit_parameter, limit)
        self._health.begin(candidate.name, turn.timer())
        bill.sent()
        since = turn.timer()
        try:
            exchange = await self._providers[candidate.provider].send(body, turn.request_id)
        except ProviderError:
            bill.unsent()
            raise
        finally:
            turn.waited_s += turn.timer() - since
        turn.first_byte()
        relay = relay_stream if turn.request.streamed else relay_whole
        try:
            await relay(turn, exchange, bill, settle, sink)
        finally:
            exchange.close()

    def _record(self, turn: RequestState) -> None:
        digest = turn.router_digest or self._forecaster.current.digest
        record: RequestRecord = turn.record(digest, self._versions, with_reply=self._keeps_replies)
        if turn.course is not None and turn.planned_cost is not None:
            turn.course.finished(turn.planned_cost, turn.cost, is_refused=turn.is_out_of_money)
        for observer in self._observers:
            observer.observe(record)
