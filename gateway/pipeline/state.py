"""The state of one request on its way: what is known of it so far, and the record made at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from operator import itemgetter

from gateway.billing.money import to_usd
from gateway.billing.reservation import Grant, OverLimit, Reservation
from gateway.billing.usage import Usage
from gateway.billing.window import Window, session_window
from gateway.errors import RequestError
from gateway.pipeline.chat_request import ChatRequest, dropped_members
from gateway.pipeline.record import Attempt, ReplyContent, RequestRecord, Versions
from gateway.routing.decision import Assessment, Decision, Preference
from gateway.routing.exploration import Exploration
from gateway.routing.pacing.controller import PacingView
from gateway.tenants.tenant import Tenant

Header = tuple[bytes, bytes]
_EXPECTED_COST = itemgetter(
    Assessment._fields.index("expected_cost")
)  # by position: takes half the time of access by name


class RequestState:
    """The state of a request, the only object on the request path that changes.

    Made when the request is parsed, read once at the end.
    """

    __slots__ = (
        "attempts",
        "began",
        "choice",
        "cost",
        "cost_before",
        "decide_s",
        "decision",
        "encode_s",
        "enforced_locally",
        "error_code",
        "exceeded",
        "exceeds_hold",
        "exploration",
        "exploration_windows",
        "finish_reason",
        "first_byte_s",
        "held",
        "is_out_of_money",
        "is_pinned",
        "metered",
        "outcome",
        "pace",
        "pacing_view",
        "parse_s",
        "planned_cost",
        "preference",
        "reason",
        "remaining",
        "reply",
        "request",
        "request_id",
        "reservations",
        "reserve_s",
        "router_digest",
        "scale",
        "started_at",
        "status",
        "tenant",
        "timer",
        "tries",
        "usage",
        "waited_s",
        "windows",
    )

    def __init__(
        self,
        request_id: str,
        tenant: Tenant,
        request: ChatRequest,
        began: float,
        started_at: float,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin at `started_at`, in seconds since the epoch.

        `timer` is the clock, in seconds from any origin, that measures all durations of the request; `began` is its
        reading when the request arrived.
        """
        self.request_id = request_id
        self.tenant = tenant
        self.request = request
        self.began = began
        self.started_at = started_at
        self.timer = timer
        self.windows: tuple[Window, ...] = tenant.windows(self.started_at)
        if request.session is not None:
            session, limit = request.session
            self.windows += (session_window(tenant.name, session, limit, self.started_at),)
        self.reason = "unrouted"
        self.is_pinned = False
        """True if the client named one candidate, so that no other may serve."""
        self.tries = 0
        """Attempts that were begun."""
        self.preference: Preference | None = None
        self.decision: Decision | None = None
        self.choice: Assessment | None = None
        self.held = 0
        self.remaining: int | None = None
        self.exceeded: tuple[str, ...] = ()
        self.enforced_locally = False
        self.cost_before = 0
        self.reservations = 0
        self.attempts: list[Attempt] = []
        self.cost = 0
        self.usage = Usage(0, 0)
        self.metered = False
        self.exceeds_hold = False
        self.parse_s = self.decide_s = self.reserve_s = 0.0
        self.outcome = ""
        self.status = 0
        self.error_code: str | None = None
        self.router_digest = ""
        """Digest of the router that forecast for this request; empty until a router is asked."""
        self.encode_s = 0.0
        self.waited_s = 0.0
        self.first_byte_s: float | None = None
        self.finish_reason: str | None = None
        self.reply: ReplyContent | None = None
        self.pacing_view: PacingView | None = None
        """How pacing steers the tenant; None for a tenant that is neither paced nor explores."""
        self.scale = 1.0
        self.pace = ""
        self.exploration: Exploration | None = None
        self.exploration_windows: tuple[Window, ...] = ()
        self.planned_cost: int | None = None
        """The cost that pacing expects of the request: the cost of the best choice. None until it was counted."""
        self.is_out_of_money = False
        """True if a reservation of this request was refused because money was missing."""

    def steer(self, pacing_view: PacingView) -> Decision:
        """Count the request towards the tenant's pace, and explore if the tenant explores.

        Returns the decision, in which the first choice is the candidate to serve first.
        """
        decision = self.decision
        assert decision is not None
        self.planned_cost = decision.choices[0].expected_cost
        self.decision, self.exploration, self.exploration_windows = pacing_view.decided(
            decision, self.scale, may_explore=self.reason == "routed"
        )
        return self.decision

    def refused_hold(self, refused: OverLimit) -> None:
        window = refused.window
        self.is_out_of_money = self.is_out_of_money or (window.unit == "usd" and not window.separate)

    def chosen(self, choice: Assessment, granted: Grant) -> None:
        self.choice, self.held, self.remaining = choice, granted.amount, granted.remaining
        self.exceeded = tuple([key.partition("/")[2] for key in granted.exceeded])
        self.enforced_locally = granted.local
        self.cost_before = self.cost
        self.tries += 1

    def reservation(self, choice: Assessment, bounds: tuple[int, int], ttl_s: float) -> Reservation:
        """Return the reservation for the next attempt, between `bounds` (ceiling, floor).

        A request counts as one request, however often it is tried. An exploring request is reserved in full or not at
        all, because exploration's window must not cut a reply short.
        """
        self.reservations += 1
        windows, (max_cost, min_budget) = self.windows, bounds
        if self.exploration_windows and self.is_first(choice):
            windows, min_budget = windows + self.exploration_windows, max_cost
        return Reservation(
            id=f"{self.tenant.name}/{self.request_id}.{self.reservations - 1}",
            windows=windows,
            max_cost=max_cost,
            min_budget=min_budget,
            ttl_s=ttl_s,
            tokens=choice.expected_tokens,
            requests=1 if self.choice is None else 0,
        )

    def is_first(self, choice: Assessment) -> bool:
        """Return whether this is the choice that was decided on, which the propensity describes."""
        return self.decision is not None and bool(self.decision.choices) and choice is self.decision.choices[0]

    def first_byte(self) -> None:
        self.first_byte_s = self.timer() - self.began

    def refused(self, error: RequestError) -> None:
        self.outcome = "failed" if error.status >= 500 else "refused"
        self.status, self.error_code = error.status, error.code

    def headers(self, exact_cost: int | None = None) -> list[Header]:
        """Return the routing headers known so far; without `exact_cost` they carry the expected cost."""
        found = [(b"x-request-id", self.request_id.encode())]
        choice = self.choice
        if choice is not None:
            found.append((b"x-route-candidate", choice.candidate.name.encode()))
            cost = choice.expected_cost if exact_cost is None else exact_cost
            found.append((b"x-route-cost", to_usd(cost).encode()))
            if choice.forecast is not None:
                found.append((b"x-route-quality", b"%.4f" % choice.forecast.quality))
            if dropped := dropped_members(self.request, choice.candidate):
                found.append((b"x-route-dropped", ",".join(dropped).encode()))
        found.append((b"x-route-reason", self.route_reason().encode()))
        if self.remaining is not None:
            left = self.remaining + (0 if exact_cost is None else self.held - (exact_cost - self.cost_before))
            found.append((b"x-budget-remaining", to_usd(max(left, 0)).encode()))
        if self.enforced_locally:
            found.append((b"x-budget-enforcement", b"local"))
        if self.exceeded:
            found.append((b"x-budget-exceeded", ",".join(self.exceeded).encode()))
        return found

    def route_reason(self) -> str:
        """Return why this candidate was chosen: `routed`, `pinned` or `declined:...`.

        Adds the pace while pacing restricts spending, whether the candidate was drawn instead of the best, and the
        failed attempts after which another was made: of another candidate (`fallback`), or of the same one (`retry`).
        """
        followed = self.attempts[: self.tries - 1]
        failed = ",".join(f"{a.candidate}:{a.failure}" for a in followed if a.failure)
        reason = f"{self.reason};{self.pace}" if self.pace and self.reason == "routed" else self.reason
        if self.exploration is not None and self.exploration.explores:
            reason += ";explored" if self.choice is None or self.is_first(self.choice) else ""
        if not failed:
            return reason
        return f"{reason};{'retry' if self.is_pinned else 'fallback'}={failed}"

    def record(
        self, router_digest: str, versions: Versions | None = None, *, with_reply: bool = False
    ) -> RequestRecord:
        total = self.timer() - self.began
        choice, decision, query = self.choice, self.decision, self.request.query
        forecast = choice.forecast if choice else None
        has_strayed = choice is not None and not self.is_first(choice)
        return RequestRecord(
            request_id=self.request_id,
            started_at=self.started_at,
            tenant=self.tenant.name,
            candidate=choice.candidate.name if choice else None,
            reason=self.route_reason(),
            outcome=self.outcome or "failed",
            status=self.status,
            error_code=self.error_code,
            streamed=self.request.streamed,
            images=len(query.images),
            prompt_bytes=query.prompt_bytes,
            input_tokens=self.usage.input_tokens,
            output_tokens=self.usage.output_tokens,
            metered=self.metered,
            expected_cost=choice.expected_cost if choice else 0,
            held=self.held,
            cost=self.cost,
            forecast_quality=forecast.quality if forecast else None,
            propensity=0.0 if has_strayed else decision.propensity if decision else 1.0,
            price_weight=self.preference.price_weight if self.preference else None,
            cap=self.request.cap,
            attempts=tuple(self.attempts),
            exceeded=self.exceeded,
            exceeds_hold=self.exceeds_hold,
            dropped=tuple((row.candidate.name, row.dropped or "") for row in decision.dropped) if decision else (),
            router_digest=router_digest,
            parse_s=self.parse_s,
            decide_s=self.decide_s,
            reserve_s=self.reserve_s,
            dearest_cost=max(map(_EXPECTED_COST, decision.choices)) if choice and decision else 0,
            encode_s=self.encode_s,
            first_byte_s=self.first_byte_s,
            total_s=total,
            overhead_s=max(total - self.waited_s, 0.0),
            prices=choice.candidate.prices if choice else "",
            estimated_cost=choice.estimated_cost if choice else 0,
            estimated_input_tokens=choice.input_tokens if choice else 0,
            estimated_output_tokens=choice.output_tokens if choice else 0,
            remaining=self.remaining,
            finish_reason=self.finish_reason,
            versions=versions,
            decision=decision,
            query=query,
            sources=self.request.images,
            exploration=self.exploration,
            reply=self.reply if with_reply else None,
        )
