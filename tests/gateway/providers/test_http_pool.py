"""Connections are kept, shared in order, and never lost, whatever becomes of those who use or await them."""

from __future__ import annotations

import asyncio

import pytest

from gateway.providers.http_connection import BrokenConnection, Connection, Overdue
from gateway.providers.http_pool import ConnectionPool, Origin

from .conftest import Run
from .harness.pooled import OK, asked, pool_at, read_out, soon
from .harness.raw_server import Ask, in_turn, raw_server, say, say_and_hang_up, say_and_wait, sized, until_so

AUTHORITIES = {
    "http://provider.test/v1": "provider.test",
    "http://provider.test:80/v1": "provider.test",
    "http://provider.test:8080/v1": "provider.test:8080",
    "https://provider.test/v1": "provider.test",
    "https://provider.test:443/v1": "provider.test",
    "https://provider.test:80/v1": "provider.test:80",
    "http://[::1]/v1": "[::1]",
    "http://[2001:db8::5]:8000/v1": "[2001:db8::5]:8000",
    "http://Provider.Test/v1": "provider.test",
    "http://bücher.test/v1": "xn--bcher-kva.test",
}


@pytest.mark.parametrize(("url", "authority"), AUTHORITIES.items(), ids=AUTHORITIES)
def test_authority_is_the_host_and_an_unusual_port(url: str, authority: str) -> None:
    origin = Origin.of(url)
    assert origin.authority == authority
    assert origin.path == "/v1"


def test_path_holds_the_query_and_is_never_empty() -> None:
    assert Origin.of("http://a.test").path == "/"
    assert Origin.of("http://a.test/v1/%20x?api-version=2024&b=c").path == "/v1/%20x?api-version=2024&b=c"


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///v1",
        "http://a.test:99999/",
        "http://a.test:x/",
        "http://a..b/",
        "http://a.test/a b",
        "http://user:word@a.test/",
        "http://a.test/#part",
        "http://user:wo/rd@a.test/",
    ],
)
def test_url_that_nothing_can_be_sent_to_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"host|port|path|label|password|fragment") as refused:
        Origin.of(url)
    assert "wo" not in str(refused.value).replace("password", "")


def test_exchanges_one_after_another_share_a_connection(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server, pool_at(server, largest=8) as pool:
            for _ in range(50):
                assert await read_out(await asked(pool)) == b"ok"
            assert server.connections == 1

    run(main())


def test_connection_is_not_kept_when_the_server_says_so_or_the_reply_was_not_read(run: Run) -> None:
    async def main() -> None:
        closing = sized(b"ok", 200, b"Connection: close")
        async with raw_server(say(closing)) as server, pool_at(server) as pool:
            await read_out(await asked(pool))
            await read_out(await asked(pool))
            assert server.connections == 2
            server.script = say_and_wait(sized(b"ok")[:-1])
            (await asked(pool)).release()
            await server.until(lambda: server.open_connections == 0)

    run(main())


def test_connection_that_was_closed_while_idle_is_not_used(run: Run) -> None:
    async def main() -> None:
        async with raw_server(in_turn(say_and_hang_up(OK), say(OK))) as server, pool_at(server) as pool:
            connection = await asked(pool)
            await read_out(connection)
            await until_so(lambda: not connection.is_open)
            again = await pool.take(soon())
            assert again is not connection
            assert not again.used
            again.release()

    run(main())


def test_most_recently_used_connection_is_used_first(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server, pool_at(server, largest=2) as pool:
            first, second = await asked(pool), await asked(pool)
            await read_out(second)
            await read_out(first)
            assert await asked(pool) is first

    run(main())


def test_never_more_connections_than_allowed(run: Run) -> None:
    most = 0

    async def main() -> None:
        async with raw_server(say(OK)) as server, pool_at(server, largest=3) as pool:

            async def script(ask: Ask) -> None:
                nonlocal most
                most = max(most, server.open_connections)
                await (ask.say(OK) if int(ask.body) % 2 else ask.say(sized(b"ok", 200, b"Connection: close")))

            async def call(number: int) -> None:
                assert await read_out(await asked(pool, b"%02d" % number)) == b"ok"

            server.script = script
            await asyncio.gather(*(call(number) for number in range(40)))
            assert len(server.asks) == 40

    run(main())
    assert 1 < most <= 4  # one more: its end may be seen after the next one's beginning


def test_waiters_are_served_in_order_and_nobody_pushes_in(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server, pool_at(server) as pool:
            order: list[str] = []

            async def call(name: str) -> None:
                connection = await pool.take(soon())
                order.append(name)
                await asyncio.sleep(0)
                connection.release()

            for place in (True, False):  # the place comes free with its connection, and without
                order.clear()
                holder = await asked(pool)
                waiting = [asyncio.create_task(call(name)) for name in "abc"]
                await asyncio.sleep(0)
                await read_out(holder) if place else holder.release()
                await call("late")
                await asyncio.gather(*waiting)
                assert order == ["a", "b", "c", "late"]

    run(main())


def test_waiter_that_is_cancelled_neither_keeps_a_place_nor_stops_others(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server, pool_at(server) as pool:
            holder = await asked(pool)
            first, second, third = (asyncio.create_task(pool.take(soon())) for _ in range(3))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await read_out(holder)
            second.cancel()  # its turn has come, and it does not know yet
            assert isinstance((await asyncio.gather(second, return_exceptions=True))[0], asyncio.CancelledError)
            assert await third is holder
            holder.release()
            assert await _all_places(pool, 1)

    run(main())


def test_place_of_a_connection_that_broke_goes_to_who_waits(run: Run) -> None:
    async def main() -> None:
        async with raw_server(in_turn(say_and_hang_up(b"HTTP/1.1 2"), say(OK))) as server, pool_at(server) as pool:

            async def broken() -> None:
                with pytest.raises(BrokenConnection):
                    await asked(pool)

            async def call() -> None:
                assert await read_out(await asked(pool)) == b"ok"

            await asyncio.gather(broken(), call(), call())
            assert server.connections == 2

    run(main())


def test_connection_that_closes_on_its_way_to_a_waiter_is_replaced(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server, pool_at(server) as pool:
            holder = await asked(pool)
            waiter = asyncio.create_task(pool.take(soon()))
            await asyncio.sleep(0)
            await read_out(holder)
            holder.abort()
            given = await waiter
            assert given is not holder
            assert given.is_open
            given.release()
            assert await _all_places(pool, 1)

    run(main())


def test_connecting_that_fails_frees_its_place(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server:
            url = server.url
        pool = ConnectionPool(Origin.of(url), largest=1, connect_s=10.0)
        failed = await asyncio.gather(*(pool.take(soon()) for _ in range(5)), return_exceptions=True)
        assert {type(error) for error in failed} == {ConnectionRefusedError}
        pool.close()

    run(main())


def test_connecting_takes_no_longer_than_it_may(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server:
            silent = Origin.of(server.url.replace("http", "https"))  # it never answers the handshake
            pool = ConnectionPool(silent, largest=1, connect_s=0.05)
            failed = await asyncio.gather(*(pool.take(soon()) for _ in range(3)), return_exceptions=True)
            assert {type(error) for error in failed} == {TimeoutError}
            await server.until(lambda: server.open_connections == 0)
            pool.close()

    run(main())


def test_connecting_that_is_cancelled_is_cut_and_frees_its_place(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server:
            silent = Origin.of(server.url.replace("http", "https"))
            pool = ConnectionPool(silent, largest=1, connect_s=10.0)
            for _ in range(3):
                taking = asyncio.create_task(pool.take(soon()))
                await server.until(lambda: server.open_connections == 1)
                taking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await taking
                await server.until(lambda: server.open_connections == 0)
            pool.close()

    run(main())


def test_waiting_for_a_place_ends_at_the_deadline(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server, pool_at(server) as pool:
            holder = await asked(pool)
            with pytest.raises(Overdue):
                await pool.take(asyncio.get_running_loop().time() + 0.05)
            await read_out(holder)
            assert await _all_places(pool, 1)

    run(main())


def test_closing_turns_waiters_away_and_keeps_nothing_that_comes_back(run: Run) -> None:
    async def main() -> None:
        async with raw_server(say(OK)) as server, pool_at(server, largest=2) as pool:
            idle, holder = await asked(pool), await asked(pool)
            await read_out(idle)
            third = await asked(pool)
            waiters = [asyncio.create_task(pool.take(soon())) for _ in range(2)]
            await asyncio.sleep(0)
            pool.close()
            waiters[1].cancel()
            refused = await asyncio.gather(*waiters, return_exceptions=True)
            assert [type(error) for error in refused] == [ConnectionAbortedError, asyncio.CancelledError]
            with pytest.raises(ConnectionAbortedError):
                await pool.take(soon())
            for connection in (holder, third):
                assert await read_out(connection) == b"ok"
            await server.until(lambda: server.open_connections == 0)

    run(main())


async def _all_places(pool: ConnectionPool, count: int) -> bool:
    """Whether so many connections can be taken at once, without waiting."""
    taken: list[Connection] = []
    for _ in range(count):
        async with asyncio.timeout(60):
            taken.append(await pool.take(soon()))
    for connection in taken:
        connection.release()
    return True
