"""The relay from the provider to the client: one path, streamed or not, that owns the exchange until it is settled.

A whole reply is sent once it is complete, so that it is never a 200 with a broken body. A stream is sent on as it
arrives; when it breaks off after the first byte the client gets an error event, and no `[DONE]`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.billing.money import NANODOLLARS
from gateway.errors import ProviderError, RequestError
from gateway.pipeline.charge import Charge
from gateway.pipeline.direct_writer import DirectWriter, Outlet
from gateway.pipeline.state import Header, RequestState
from gateway.providers.base import Exchange
from gateway.providers.stream_meter import BrokenReply, StreamMeter, partial_output_tokens, read_whole

LARGEST_WHOLE_REPLY = 64 * 1024 * 1024
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
        charge.seen(partial_output_tokens(b"".join(parts)))
        if isinstance(error, BrokenReply):
            raise ProviderError(f"{candidate}: {error}", reason="broken_reply") from None
        raise
    if reply.usage is not None:
        charge.billed(reply.usage)
    else:
        charge.seen(reply.output_tokens)
    _note(state, charge, "ok")
    state.reply, state.finish_reason = reply, reply.finish_reason
    await settle()
    await sink.start(200, b"application/json", state.headers(state.cost), len(reply.body))
    await sink.write(reply.body, last=True)


async def relay_stream(state: RequestState, exchange: Exchange, charge: Charge, settle: Settle, sink: Sink) -> None:
    """Send the stream on as it arrives. Raises ProviderError if it fails before anything was sent on."""
    meter = StreamMeter(candidate_name(state), wants_usage=state.request.wants_usage)
    state.reply = meter
    started = False
    held = b""  # last events that arrive with [DONE]: sent together with the end, after settling
    broken: ProviderError | None = None
    try:
        while not exchange.ended:
            since = state.timer()
            data = await exchange.read()
            state.waited_s += state.timer() - since
            if not data:
                break
            ready = meter.feed(data)
            if meter.failed and not started:
                raise ProviderError(f"{candidate_name(state)} began with an error", reason="error_event")
            if not ready:
                continue
            if exchange.ended and meter.done:
                held = ready
                break
            if not started:
                await sink.start(200, b"text/event-stream", state.headers(), None)
                started = True
                if sink.outlet is not None:
                    exchange.offer(DirectWriter(state, meter, sink.outlet))
            await sink.write(ready)
    except ProviderError as error:
        broken = None if meter.done else error
    except BrokenReply as error:
        broken = ProviderError(f"{candidate_name(state)}: {error}", reason="broken_reply")
    except BaseException:
        _count(charge, meter)
        _note(state, charge, "cut_short")
        raise
    if meter.failed:
        broken = broken or ProviderError(f"{candidate_name(state)} sent an error", reason="error_event")
    if broken is None and not (meter.done or meter.finished):
        broken = ProviderError(f"{candidate_name(state)}: the stream ended early", reason="broke_off")
    _count(charge, meter)
    state.finish_reason = meter.finish_reason
    if broken is not None and not started:
        raise broken
    _note(state, charge, "ok" if broken is None else "cut_short")
    await settle()
    if not started:
        await sink.start(200, b"text/event-stream", state.headers(), None)
    await sink.write(held + _end(state, meter, broken), last=True)


def candidate_name(state: RequestState) -> str:
    """Return the name that the reply carries as its `model`."""
    assert state.choice is not None
    return state.choice.candidate.name


async def _read(state: RequestState, exchange: Exchange) -> bytes:
    """Return the exchange's next bytes; the time until they arrive counts as waiting."""
    since = state.timer()
    try:
        return await exchange.read()
    finally:
        state.waited_s += state.timer() - since


def _end(state: RequestState, meter: StreamMeter, broken: ProviderError | None) -> bytes:
    """Return the last bytes of a stream that has started."""
    if broken is None:
        return meter.finish({"x_route": _summary(state)})
    state.error_code = broken.reason
    return meter.break_off(str(broken), broken.reason)


def _count(charge: Charge, meter: StreamMeter) -> None:
    if meter.usage is not None:
        charge.billed(meter.usage)
    else:
        charge.seen(meter.output_tokens_seen())


def _note(state: RequestState, charge: Charge, outcome: str) -> None:
    state.usage, state.metered = charge.usage, charge.metered
    state.outcome, state.status = outcome, 200


def _summary(state: RequestState) -> dict[str, object]:
    return {
        "candidate": candidate_name(state),
        "cost_usd": state.cost / NANODOLLARS,
        "request_id": state.request_id,
    }
