"""Laws that every provider obeys. `PROVIDER_CHECKS` are called, inside an event loop, with a stage.

A stage is a provider's other side, and words replies as that provider's API does. What it is told to say are the
bytes that `Exchange.read` has to give.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol

import pytest

from gateway.errors import ProviderError
from gateway.providers.base import Exchange, Provider

SHORT_S = 0.1
"""For what never comes."""
FAIR_S = 1.0
"""Short, and yet long enough for what does come, on a machine that is busy."""
LONG_S = 60.0
PIECES = (b'data: {"a": 1}\n\n', b'data: {"b": "\xc3\xa9"}\n\n', b"data: [DONE]\n\n")
Way = Callable[[], None]
PERMANENT = (400, 413, 422)
PASSING = (401, 403, 404, 408, 429, 500, 502, 503, 529)


class Stage(Protocol):
    """A provider and its other side. What is told to the stage holds for the calls that come after."""

    @property
    def secrets(self) -> Sequence[str]:
        """What no error may name: keys, and the values of headers."""
        ...

    @property
    def bodies(self) -> Sequence[bytes]:
        """The bodies of the calls so far."""
        ...

    @property
    def request_ids(self) -> Sequence[str]: ...

    def open(self, *, places: int = 8, first_byte_s: float = LONG_S, idle_s: float = LONG_S) -> Provider:
        """A provider that calls this stage, with so many calls at once and such time limits."""
        ...

    def answer(self, *pieces: bytes) -> None: ...
    def echo(self) -> None:
        """Answer each call with its own body."""
        ...

    def refuse(self, status: int, body: bytes) -> None: ...
    def break_off(self, *pieces: bytes) -> None:
        """Say the pieces, then cut the connection, though the reply is not at its end."""
        ...

    def stall(self, *pieces: bytes) -> None:
        """Say the pieces, then nothing until the provider cuts the call."""
        ...

    async def until_called(self, times: int) -> None: ...
    async def until_cut(self, times: int) -> None:
        """Until so many calls that stalled were cut by the provider."""
        ...

    async def until_alone(self) -> None:
        """Until no connection to the stage is open."""
        ...


async def read_all(exchange: Exchange) -> bytes:
    parts = []
    while data := await exchange.read():
        parts.append(data)
    assert await exchange.read() == b"", "the end stays the end"
    exchange.close()
    return b"".join(parts)


async def refusal(provider: Provider, body: bytes = b"{}") -> ProviderError:
    """The error that `send` raises."""
    with pytest.raises(ProviderError) as caught:
        await provider.send(body, "req_refused")
    return caught.value


async def check_reply_comes_whole_and_then_ends(stage: Stage) -> None:
    provider = stage.open()
    stage.answer(*PIECES)
    for number in range(3):
        body = b'{"number": %d}' % number
        exchange = await provider.send(body, f"req_{number}")
        assert await read_all(exchange) == b"".join(PIECES)
        assert stage.bodies[-1] == body
        assert stage.request_ids[-1] == f"req_{number}"
    await provider.close()


async def check_first_bytes_are_there_when_send_returns(stage: Stage) -> None:
    provider = stage.open()
    stage.stall(PIECES[0])
    exchange = await provider.send(b"{}", "req_1")
    assert await exchange.read() == PIECES[0]
    exchange.close()
    await stage.until_cut(1)
    await provider.close()


async def check_large_bodies_and_replies_come_whole(stage: Stage) -> None:
    provider = stage.open()
    stage.echo()
    for size in (1, 65_535, 65_536, 3_000_000):
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert await read_all(await provider.send(body, "req_1")) == body
    await provider.close()


async def check_replies_of_calls_at_once_stay_apart(stage: Stage) -> None:
    provider = stage.open(places=4)
    stage.echo()

    async def call(number: int) -> None:
        body = b'{"number": %d}' % number
        assert await read_all(await provider.send(body, f"req_{number}")) == body

    async with asyncio.TaskGroup() as group:
        for number in range(60):
            group.create_task(call(number))
    await provider.close()


async def check_refusals_tell_status_body_and_whose_fault_it_is(stage: Stage) -> None:
    provider = stage.open()
    for status in (*PERMANENT, *PASSING):
        stage.refuse(status, b'{"error": {"message": "no"}}')
        refused = await refusal(provider)
        assert (refused.status, refused.reason) == (status, f"http_{status}")
        assert refused.blames_request == (status in PERMANENT), status
        assert refused.body == b'{"error": {"message": "no"}}'
    await provider.close()


async def check_break_off_before_the_first_byte_is_for_send_to_say(stage: Stage) -> None:
    provider = stage.open()
    stage.break_off()
    refused = await refusal(provider)
    assert (refused.status, refused.fault) == (None, None)
    await provider.close()


async def check_break_off_after_the_first_byte_is_for_read_to_say(stage: Stage) -> None:
    provider = stage.open()
    stage.break_off(*PIECES[:2])
    exchange = await provider.send(b"{}", "req_1")
    seen = b""
    with pytest.raises(ProviderError) as caught:
        while data := await exchange.read():
            seen += data
    assert (caught.value.reason, caught.value.fault) == ("broke_off", None)
    assert seen == b"".join(PIECES[:2]), "what came before it is not lost"
    exchange.close()
    await provider.close()


async def check_silence_before_the_first_byte_ends_in_time(stage: Stage) -> None:
    provider = stage.open(first_byte_s=SHORT_S)
    stage.stall()
    refused = await refusal(provider)
    assert (refused.reason, refused.fault) == ("first_byte_timeout", None)
    await stage.until_cut(1)
    await provider.close()


async def check_silence_after_the_first_byte_ends_in_time(stage: Stage) -> None:
    provider = stage.open(idle_s=SHORT_S)
    stage.stall(PIECES[0])
    exchange = await provider.send(b"{}", "req_1")
    assert await exchange.read() == PIECES[0]
    with pytest.raises(ProviderError) as caught:
        await exchange.read()
    assert caught.value.reason == "idle_timeout"
    exchange.close()
    await stage.until_cut(1)
    await provider.close()


async def check_cancelled_call_is_cut(stage: Stage) -> None:
    provider = stage.open()
    stage.stall()
    sending = asyncio.create_task(provider.send(b"{}", "req_1"))
    await stage.until_called(1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await stage.until_cut(1)
    await provider.close()


async def check_closed_exchange_is_cut_and_closing_it_again_does_nothing(stage: Stage) -> None:
    provider = stage.open(places=1)
    stage.stall(PIECES[0])
    exchange = await provider.send(b"{}", "req_1")
    exchange.close()
    exchange.close()
    await stage.until_cut(1)
    stage.answer(*PIECES)
    other = await provider.send(b"{}", "req_2")
    exchange.close()
    assert await read_all(other) == b"".join(PIECES)
    other.close()
    assert await read_all(await provider.send(b"{}", "req_3")) == b"".join(PIECES)
    await provider.close()


async def check_closed_exchange_gives_nothing_of_another(stage: Stage) -> None:
    provider = stage.open(places=1)
    stage.answer(*PIECES)
    first = await provider.send(b"{}", "req_1")
    await read_all(first)
    other = await provider.send(b"{}", "req_2")
    with suppress(ProviderError):
        assert await first.read() == b""
    assert await read_all(other) == b"".join(PIECES)
    await provider.close()


async def check_every_way_out_frees_its_place(stage: Stage) -> None:
    provider = stage.open(places=1, first_byte_s=FAIR_S, idle_s=FAIR_S)
    ways: tuple[Way, ...] = (
        stage.stall,
        stage.break_off,
        lambda: stage.refuse(500, b"no"),
        lambda: stage.stall(PIECES[0]),
        lambda: stage.break_off(PIECES[0]),
        lambda: stage.answer(*PIECES),
    )
    for way in ways:
        way()
        with suppress(ProviderError):
            exchange = await provider.send(b"{}", "req_1")
            try:
                await read_all(exchange)
            finally:
                exchange.close()
    stage.answer(*PIECES)
    assert await read_all(await provider.send(b"{}", "req_2")) == b"".join(PIECES)
    await provider.close()


async def check_errors_name_no_secret(stage: Stage) -> None:
    provider = stage.open(first_byte_s=FAIR_S, idle_s=FAIR_S)
    errors = []
    before: tuple[Way, ...] = (stage.stall, stage.break_off, lambda: stage.refuse(401, b"no"))
    for way in before:
        way()
        errors.append(await refusal(provider))
    after: tuple[Way, ...] = (lambda: stage.stall(PIECES[0]), lambda: stage.break_off(PIECES[0]))
    for way in after:
        way()
        exchange = await provider.send(b"{}", "req_1")
        with pytest.raises(ProviderError) as caught:
            await read_all(exchange)
        errors.append(caught.value)
        exchange.close()
    told = " ".join(f"{error} {error!r} {error.reason}" for error in errors)
    assert stage.secrets
    assert not [secret for secret in stage.secrets if secret in told]
    await provider.close()


async def check_closed_provider_leaves_no_connection_and_sends_no_more(stage: Stage) -> None:
    provider = stage.open()
    stage.answer(*PIECES)
    under_way = await provider.send(b"{}", "req_1")
    await read_all(await provider.send(b"{}", "req_2"))
    await provider.close()
    await refusal(provider)
    assert await read_all(under_way) == b"".join(PIECES), "what is under way comes to its end"
    await stage.until_alone()
    await provider.close()


Check = Callable[[Stage], Coroutine[Any, Any, None]]
PROVIDER_CHECKS: tuple[Check, ...] = (
    check_reply_comes_whole_and_then_ends,
    check_first_bytes_are_there_when_send_returns,
    check_large_bodies_and_replies_come_whole,
    check_replies_of_calls_at_once_stay_apart,
    check_refusals_tell_status_body_and_whose_fault_it_is,
    check_break_off_before_the_first_byte_is_for_send_to_say,
    check_break_off_after_the_first_byte_is_for_read_to_say,
    check_silence_before_the_first_byte_ends_in_time,
    check_silence_after_the_first_byte_ends_in_time,
    check_cancelled_call_is_cut,
    check_closed_exchange_is_cut_and_closing_it_again_does_nothing,
    check_closed_exchange_gives_nothing_of_another,
    check_every_way_out_frees_its_place,
    check_errors_name_no_secret,
    check_closed_provider_leaves_no_connection_and_sends_no_more,
)
