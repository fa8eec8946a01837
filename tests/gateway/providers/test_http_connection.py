"""HTTP/1.1 as it comes over the wire: in pieces of any size, cut anywhere, malformed, or more than was asked for."""

from __future__ import annotations

import asyncio

import pytest

from gateway.providers.http_connection import (
    HIGH_WATER,
    LONGEST_HEAD,
    BrokenConnection,
)

from .conftest import Run
from .harness.pooled import OK, asked, pool_at, read_out
from .harness.raw_server import (
    Ask,
    chunked,
    endless,
    in_turn,
    raw_server,
    say,
    say_and_hang_up,
    sized,
    until_so,
)

BODY = b'data: {"choices": []}\n\ndata: [DONE]\n\n'
WELL_FORMED = {
    "sized": sized(BODY, 200, b"Content-Type: application/json"),
    "chunked": chunked(BODY[:5], BODY[5:20], BODY[20:]),
    "chunked, with an extension and a trailer": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nTrailer: Sum\r\n\r\n"
        b"%x;a=b\r\n%b\r\n0\r\nSum: 1\r\n\r\n" % (len(BODY), BODY)
    ),
    "after interim replies": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nLink: a\r\n\r\n" + sized(BODY),
    "with an empty header": sized(BODY, 200, b"X-Empty:"),
}
MALFORMED = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a header without a name": b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X-More: and more\r\n" * (LONGEST_HEAD // 16),
    "interim replies without end": b"HTTP/1.1 100 Continue\r\n\r\n" * (LONGEST_HEAD // 16),
}
LEFT_OVER = {
    "junk": b"junk",
    "a whole reply": sized(b"of nobody"),
    "the beginning of a reply": b"HTTP/1.1 200 OK\r\nContent-Len",
    "the headers of a reply": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
}


@pytest.mark.parametrize("reply", WELL_FORMED.values(), ids=WELL_FORMED)
def test_reply_is_the_same_byte_by_byte(run: Run, reply: bytes) -> None:
    async def drip(ask: Ask) -> None:
        for position in range(len(reply)):
            await ask.say(reply[position : position + 1])
            await asyncio.sleep(0)

    async def main() -> None:
        async with raw_server(drip) as server, pool_at(server) as pool:
            for _ in range(3):
                connection = await asked(pool)
                assert connection.status == 200
                assert await read_out(connection) == BODY
            assert server.connections == 1

    run(main())


@pytest.mark.parametrize("every", [1, 2, 3, 1000])
@pytest.mark.parametrize("reply", WELL_FORMED.values(), ids=WELL_FORMED)
def test_what_is_taken_as_it_comes_and_what_is_read_are_the_reply_together(run: Run, reply: bytes, every: int) -> None:
    """`every` so-manieth offer is refused, and then read."""

    async def drip(ask: Ask) -> None:
        for position in range(len(reply)):
            await ask.say(reply[position : position + 1])
            await asyncio.sleep(0)

    async def main() -> None:
        async with raw_server(drip) as server, pool_at(server) as pool:
            for _ in range(2):
                connection = await asked(pool)
                parts: list[bytes] = []
                offers = 0

                def take(data: bytes, parts: list[bytes] = parts) -> bool:
                    nonlocal offers
                    offers += 1
                    if offers % every:
                        parts.append(data)
                    return bool(offers % every)

                connection.taker = take
                while data := await connection.read():
                    parts.append(data)
                assert b"".join(parts) == BODY
                assert offers
                connection.release()
                assert connection.taker is None
            assert server.connections == 1

    run(main())


def test_a_reply_that_breaks_off_while_it_is_taken_says_so(run: Run) -> None:
    async def main() -> None:
        cut = chunked(BODY[:5], BODY[5:])[:-8]
        async with raw_server(say_and_hang_up(cut)) as server, pool_at(server) as pool:
            connection = await asked(pool)
            connection.taker = lambda _: True
            with pytest.raises(BrokenConnection):
                while await connection.read():
                    pass
            connection.release()

    run(main())


@pytest.mark.parametrize("reply", WELL_FORMED.values(), ids=WELL_FORMED)
def test_reply_is_the_same_in_two_parts_and_in_one(run: Run, reply: bytes) -> None:
    async def main() -> None:
        async with raw_server(say(reply)) as server, pool_at(server) as pool:
            assert await read_out(await asked(pool)) == BODY
            for position in range(1, len(reply)):

                async def script(ask: Ask, position: int = position) -> None:
                    await ask.say(reply[:position])
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    await ask.say(reply[position:])

                server.script = script
                assert await read_out(await asked(pool)) == BODY
            assert server.connections == 1

    run(main())


@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_reply_cut_at_any_byte_is_never_taken_for_whole(run: Run, framing: str) -> None:
    reply = WELL_FORMED[framing]
    headers = reply.index(b"\r\n\r\n") + 4

    async def main() -> None:
        async with raw_server(say(b"")) as server, pool_at(server) as pool:
            for end in range(len(reply)):
                server.script = say_and_hang_up(reply[:end])
                if end < headers:
                    with pytest.raises(BrokenConnection) as caught:
                        await asked(pool)
                    assert caught.value.sent
                    continue
                connection = await asked(pool)
                seen = b""
                with pytest.raises(BrokenConnection, match="closed early"):
                    while data := await connection.read():
                        seen += data
                connection.release()
                assert BODY.startswith(seen)
                assert framing != "sized" or len(seen) == end - headers, "what came before the end is not lost"
            server.script = say(reply)
            assert await read_out(await asked(pool)) == BODY

    run(main())


@pytest.mark.parametrize("reply", MALFORMED.values(), ids=MALFORMED)
def test_malformed_reply_is_refused(run: Run, reply: bytes) -> None:
    async def main() -> None:
        async with raw_server(say(reply)) as server, pool_at(server) as pool:
            with pytest.raises(BrokenConnection) as caught:
                await asked(pool)
            assert caught.value.sent
            await server.until(lambda: server.open_connections == 0)
            server.script = say(OK)
            assert await read_out(await asked(pool)) == b"ok"

    run(main())


def test_chunk_that_is_malformed_breaks_the_body_off(run: Run) -> None:
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\nxyz\r\n"

    async def main() -> None:
        async with raw_server(say(reply)) as server, pool_at(server) as pool:
            connection = await asked(pool)
            assert await connection.read() == b"abcd"
            with pytest.raises(BrokenConnection, match="the reply is not valid HTTP"):
                await connection.read()
            connection.release()

    run(main())


def test_body_without_a_length_ends_with_its_connection(run: Run) -> None:
    async def main() -> None:
        for reply in (endless(BODY), b"HTTP/1.0 200 OK\r\n\r\n" + BODY):
            async with raw_server(say_and_hang_up(reply)) as server, pool_at(server) as pool:
                for _ in range(2):
                    assert await read_out(await asked(pool)) == BODY
                assert server.connections == 2

    run(main())


def test_body_without_a_length_that_is_reset_is_broken_off(run: Run) -> None:
    go_on = asyncio.Event()

    async def script(ask: Ask) -> None:
        await ask.say(endless(BODY))
        await go_on.wait()
        ask.reset()

    async def main() -> None:
        async with raw_server(script) as server, pool_at(server) as pool:
            connection = await asked(pool)
            assert await connection.read() == BODY
            go_on.set()
            with pytest.raises(BrokenConnection):
                await connection.read()
            connection.release()

    run(main())


def test_headers_of_an_interim_reply_say_nothing_of_the_reply(run: Run) -> None:
    interim = b"HTTP/1.1 103 X\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n"

    async def main() -> None:
        async with raw_server(say_and_hang_up(interim + endless(BODY))) as server, pool_at(server) as pool:
            connection = await asked(pool)
            assert not connection.encoding
            assert await read_out(connection) == BODY

    run(main())


def test_switch_of_protocols_is_a_reply_and_the_last(run: Run) -> None:
    switch = b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"

    async def main() -> None:
        async with raw_server(in_turn(say(switch), say(OK))) as server, pool_at(server) as pool:
            connection = await asked(pool)
            assert connection.status == 101
            assert await read_out(connection) == b""
            assert await read_out(await asked(pool)) == b"ok"
            assert server.connections == 2

    run(main())


@pytest.mark.parametrize("left_over", LEFT_OVER.values(), ids=LEFT_OVER)
def test_left_over_bytes_never_reach_the_next_exchange(run: Run, left_over: bytes) -> None:
    async def main() -> None:
        for reply in (sized(BODY), chunked(BODY), sized(BODY, 200, b"Connection: close")):
            async with raw_server(in_turn(say(reply + left_over), say(OK))) as server, pool_at(server) as pool:
                assert await read_out(await asked(pool)) == BODY
                for _ in range(3):
                    assert await read_out(await asked(pool)) == b"ok"

    run(main())


@pytest.mark.parametrize("left_over", LEFT_OVER.values(), ids=LEFT_OVER)
def test_connection_that_talks_unasked_is_dropped(run: Run, left_over: bytes) -> None:
    go_on = asyncio.Event()

    async def script(ask: Ask) -> None:
        await ask.say(sized(BODY))
        await go_on.wait()
        await ask.say(left_over)

    async def main() -> None:
        async with raw_server(in_turn(script, say(OK))) as server, pool_at(server) as pool:
            connection = await asked(pool)
            assert await read_out(connection) == BODY
            go_on.set()
            await until_so(lambda: not connection.is_open)
            assert await read_out(await asked(pool)) == b"ok"
            assert server.connections == 2

    run(main())


@pytest.mark.slow
def test_reply_that_nobody_reads_is_waited_for_and_not_lost(run: Run) -> None:
    piece = bytes(range(256)) * 4096
    pieces, said = 64, 0

    async def script(ask: Ask) -> None:
        nonlocal said
        await ask.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (pieces * len(piece)))
        while said < pieces:
            await ask.say(piece)
            said += 1

    async def main() -> None:
        async with raw_server(script) as server, pool_at(server) as pool:
            connection = await asked(pool)
            connection.expect_within(1.0)
            seen = [0]
            while not seen[-1] or len(set(seen[-4:])) > 1:  # silent for longer than it may be: the silence is ours
                await asyncio.sleep(0.5)
                seen.append(said)
            assert 0 < said < pieces // 2
            body = await read_out(connection)
            assert body == piece * pieces
            assert server.connections == 1

    run(main())


def test_long_reply_that_is_never_read_does_not_stop_the_next(run: Run) -> None:
    async def main() -> None:
        async with raw_server(in_turn(say(sized(bytes(HIGH_WATER + 1))), say(OK))) as server, pool_at(server) as pool:
            connection = await asked(pool)
            await until_so(lambda: connection.complete)
            connection.release()
            assert await read_out(await asked(pool)) == b"ok"

    run(main())
