"""The relay from the provider to the client: one path, streamed or not, that owns the exchange until it is settled.

A whole reply is sent once it is complete, so that it is never a 200 with a broken body. A stream is sent on as it
arrives, once it has said something; when it breaks off after that the client gets an error event, and no `[DONE]`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.billing.money import NANODOLLARS
from gateway.billing.usage import Usage
from gateway.errors import ProviderError, RequestError
from gateway.pipeline.charge import Charge
from gateway.pipeline.direct_writer import DirectWriter, Outlet
from gateway.pipeline.state import Header, RequestState
from gateway.providers.base import Exchange
from gateway.providers.stream_meter import StreamMeter
from gateway.providers.whole_reply import BrokenReply, partial_output_tokens, read_whole, told_error

AFTER_FINISH_S = 2.0
"""How long a stream may still send its usage and `[DONE]` after its last finish reason."""
DRAIN_S = 0.2
"""How long a stream that is done may take to end its body, so that its connection can be used again."""
MOST_BYTES_PER_TOKEN = 2_000
"""Bytes of events for a token of output: in practice 100 to 400."""
FAR_MORE = 4
LARGEST_WHOLE_REPLY = 64 * 1024 * 1024
NO_REPLY = frozenset({"empty_reply", "error_body", "error_event"})
"""Failures without any reply, which cost nothing."""
Settle = Callable[[], Awaitable[None]]


class Sink(Protocol):
    """The client's side of a request."""

    @property
    def client_left(self) -> bool:
        """True if the client hung up; the request is then cancelled."""
        ...

    @property
    def started(self) -> bool:
        """True once the status line is sent: from then on the request cannot be refused."""
        ...

    async def start(self, status: int, content_type: bytes, headers: list[Header], length: int | None) -> None: ...
    async def write(self, data: bytes, *, last: bool = False) -> None: ...

    @property
    def outlet(self) -> Outlet | None:
        """The outlet that a started stream can be passed on to without waiting, or None."""
        ...

    async def refuse(self, error: RequestError, headers: list[Header]) -> None: ...


async def relay_whole(state: RequestState, exchange: Exchange, charge: Charge, settle: Settle, sink: Sink) -> None:
    """Collect the reply, settle, and send it. Raises ProviderError if the reply breaks off; nothing was sent then."""
    candidate = candidate_name(state)
    parts: list[bytes] = []
    size = 0
    try:
        while data := await _read(state, exchange):
            parts.append(data)
            size += len(data)
            if size > LARGEST_WHOLE_REPLY:
                raise ProviderError(f"{candidate}: a reply over {LARGEST_WHOLE_REPLY} bytes", reason="reply_too_large")
        reply = read_whole(b"".join(parts), candidate)
    except BaseException as error:
        if isinstance(error, ProviderError) and error.reason in NO_REPLY:
            charge.unsent()
            raise
        charge.seen(partial_output_tokens(b"".join(parts)))
        if isinstance(error, BrokenReply):
            raise ProviderError(f"{candidate}: {error}", reason="broken_reply") from None
        raise
    usage = reply.usage
    if usage is None:
        charge.seen(reply.output_tokens)
    elif len(reply.body) <= usage.output_tokens * MOST_BYTES_PER_TOKEN:
        charge.billed(usage)
    else:
        charge.billed(usage, _believed(usage, reply.output_tokens, is_whole=True))
    _note(state, charge, "ok")
    state.reply, state.finish_reason = reply, reply.finish_reason
    await settle()
    body = reply.priced(candidate, state.cost / NANODOLLARS)
    await sink.start(200, b"application/json", state.headers(state.cost), len(body))
    await sink.write(body, last=True)


async def relay_stream(
    state: RequestState,
    exchange: Exchange,
    charge: Charge,
    settle: Settle,
    sink: Sink,
    *,
    after_finish_s: float = AFTER_FINISH_S,
    drain_s: float = DRAIN_S,
) -> None:
    """Send the stream on as it arrives. Raises ProviderError if it fails before anything was sent on."""
    assert state.choice is not None
    meter = StreamMeter(
        candidate_name(state),
        wants_usage=state.request.wants_usage,
        choices=state.choice.choices,
        believes=charge.believes,
    )
    state.reply = meter
    started = False
    ends_at: float | None = None
    held = b""  # last events that arrive with [DONE]: sent together with the end, after settling
    broken: ProviderError | None = None
    try:
        while not exchange.ended:
            if meter.complete:
                ends_at = ends_at or asyncio.get_running_loop().time() + after_finish_s
            data = await _read(state, exchange, ends_at)
            if not data:
                break
            ready = meter.feed(data)
            if meter.done or meter.failed:
                held = ready
                break
            if not ready:
                continue
            if not started:
                started = True
                await sink.start(200, b"text/event-stream", state.headers(), None)
                if sink.outlet is not None:
                    exchange.offer(DirectWriter(state, meter, sink.outlet))
            await sink.write(ready)
        if not (meter.done or meter.failed):
            held = meter.flush()
    except ProviderError as error:
        held = meter.flush()
        broken = error
    except BrokenReply as error:
        broken = ProviderError(f"{candidate_name(state)}: {error}", reason="broken_reply")
    except BaseException:
        _count(charge, meter)
        _note(state, charge, "cut_short")
        raise
    broken = _failure(state, meter, broken)
    _count(charge, meter)
    state.finish_reason = meter.finish_reason
    if broken is not None and not started:
        if broken.reason in NO_REPLY and not meter.committed:
            charge.unsent()
        raise broken
    _note(state, charge, "ok" if broken is None else "cut_short")
    await settle()
    if not started:
        await sink.start(200, b"text/event-stream", state.headers(), None)
    await sink.write(held + _end(state, meter, broken), last=True)
    if meter.done and not exchange.ended:
        await _drain(state, exchange, drain_s)


def candidate_name(state: RequestState) -> str:
    """Return the name that the reply carries as its `model`."""
    assert state.choice is not None
    return state.choice.candidate.name


async def _read(state: RequestState, exchange: Exchange, until: float | None = None) -> bytes:
    """Return the exchange's next bytes; the time until they arrive counts as waiting.

    Returns nothing if none arrive `until` then (loop time).
    """
    since = state.timer()
    try:
        if until is None:
            return await exchange.read()
        async with asyncio.timeout_at(until):
            return await exchange.read()
    except TimeoutError:
        return b""
    finally:
        state.waited_s += state.timer() - since


async def _drain(state: RequestState, exchange: Exchange, seconds: float) -> None:
    """Wait a moment for the end of a reply whose client has all of it: what still comes is thrown away."""
    exchange.offer(lambda _: False)
    until = asyncio.get_running_loop().time() + seconds
    try:
        while await _read(state, exchange, until):
            pass
    except ProviderError:
        pass  # nothing is missing


def _failure(state: RequestState, meter: StreamMeter, broken: ProviderError | None) -> ProviderError | None:
    """Return why the stream failed, or None for a reply with nothing missing but, perhaps, its usage."""
    name = candidate_name(state)
    if meter.failed:
        return told_error(f"{name} sent an error", "error_event", meter.error_status, meter.error)
    if meter.complete or (meter.done and meter.committed) or (meter.finished and broken is None):
        return None
    if meter.done:
        return ProviderError(f"{name} sent a reply without words", reason="empty_reply")
    unread = meter.unread()
    if broken is None and unread:
        return _not_a_stream(name, unread)
    return broken or ProviderError(f"{name}: the stream ended early", reason="broke_off")


def _not_a_stream(name: str, body: bytes) -> ProviderError:
    """Return the failure of a provider that sent this body instead of a stream's events."""
    try:
        read_whole(body, name)
    except ProviderError as error:
        return error
    except BrokenReply as error:
        return ProviderError(f"{name}: {error}", reason="broken_reply")
    return ProviderError(f"{name} sent a whole reply instead of a stream", reason="broken_reply")


def _end(state: RequestState, meter: StreamMeter, broken: ProviderError | None) -> bytes:
    """Return the last bytes of a stream that has started."""
    if broken is None:
        return meter.finish({"x_route": _summary(state)}, state.cost / NANODOLLARS)
    state.error_code = broken.reason
    return meter.break_off(str(broken), broken.reason)


def _count(charge: Charge, meter: StreamMeter) -> None:
    """Charge the usage, and our own count of the output where there is none or it leaves out most of what was seen.

    Our count takes time, so that it is made only if it is needed: a usage may come before the words (Anthropic's first
    event says one token), and the stream be cut short after them.
    """
    usage = meter.usage
    if usage is None:
        charge.seen(meter.output_tokens_seen())
    elif meter.finished and meter.bytes_seen <= usage.output_tokens * MOST_BYTES_PER_TOKEN:
        charge.billed(usage)
    else:
        charge.billed(usage, _believed(usage, meter.output_tokens_seen(), is_whole=meter.finished))


def _believed(usage: Usage, seen: int, *, is_whole: bool) -> int:
    """Return our own count if it is to be charged: it differs a little from a true one, so that a finished reply's has
    to be far more than the provider's.
    """
    told = usage.output_tokens
    return seen if not told or not is_whole or seen > FAR_MORE * told else 0


def _note(state: RequestState, charge: Charge, outcome: str) -> None:
    state.usage, state.metered, state.exceeds_hold = charge.usage, charge.metered, charge.exceeds_hold
    state.outcome, state.status = outcome, 200


def _summary(state: RequestState) -> dict[str, object]:
    return {
        "candidate": candidate_name(state),
        "cost_usd": state.cost / NANODOLLARS,
        "request_id": state.request_id,
    }
