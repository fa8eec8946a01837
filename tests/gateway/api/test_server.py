"""Replies on the wire: a real uvicorn and real sockets, with small ASGI apps that say what is to be sent."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gateway.api.server import OnePieceProtocol, ReplyWriter
from tests.served import served

App = Callable[[dict[str, Any], Any, Any], Any]
GET = b"GET / HTTP/1.1\r\nHost: loupe\r\n\r\n"


@contextmanager
def serving(app: App) -> Iterator[int]:
    """The port of a server of `app` while the block runs."""
    with served(app, http=OnePieceProtocol, lifespan="off") as (port, _):
        yield port


def answering(*messages: dict[str, Any]) -> App:
    """An app that sends these and nothing else."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sized(length: int) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % length


def exchanged(port: int, request: bytes, *, until: bytes = b"") -> bytes:
    """What comes for a request: up to `until`, or until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        return received(connection, until)


def received(connection: socket.socket, until: bytes) -> bytes:
    found = b""
    while not (until and found.endswith(until)) and (data := connection.recv(65_536)):
        found += data
    return found


def test_head_and_body_of_a_sized_reply_come_in_one_packet() -> None:
    with (
        serving(answering(start(200, sized(5), (b"x-route-candidate", b"a")), body(b"hello"))) as port,
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
    ):
        connection.sendall(GET)
        packet = connection.recv(65_536)
    head, _, rest = packet.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nx-route-candidate: a" in head
    assert b"\r\ndate: " in head
    assert rest == b"hello"


def test_reply_without_a_length_is_chunked() -> None:
    with serving(answering(start(), body(b"one", more=True), body(b"", more=True), body(b"two"))) as port:
        reply = exchanged(port, GET, until=b"0\r\n\r\n")
    head, _, rest = reply.partition(b"\r\n\r\n")
    assert head.endswith(b"transfer-encoding: chunked")
    assert rest == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


def test_reply_to_head_has_no_body() -> None:
    with serving(answering(start(200, sized(5)), body(b"hello"))) as port:
        reply = exchanged(port, GET.replace(b"GET", b"HEAD").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert b"content-length: 5" in reply
    assert reply.endswith(b"\r\n\r\n")


def test_reply_of_no_content_has_no_body_and_no_chunks() -> None:
    with serving(answering(start(204), body(b""))) as port:
        reply = exchanged(port, GET, until=b"\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"transfer-encoding" not in reply


def test_connection_serves_one_request_after_another() -> None:
    with (
        serving(answering(start(200, sized(2)), body(b"ok"))) as port,
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
    ):
        for _ in range(3):
            connection.sendall(GET)
            assert received(connection, b"\r\n\r\nok").startswith(b"HTTP/1.1 200 OK")


def test_pipelined_requests_are_answered_in_order() -> None:
    async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send(start(200, sized(2)))
        await send(body(scope["path"].encode()))

    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: loupe\r\n\r\n" % number for number in range(3))
    with serving(echo) as port:
        reply = exchanged(port, requests, until=b"/2")
    assert [part[:2] for part in reply.split(b"\r\n\r\n")[1:]] == [b"/0", b"/1", b"/2"]


def test_connection_is_closed_when_either_side_says_so() -> None:
    asking = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    for app, request in (
        (answering(start(200, sized(2)), body(b"ok")), asking),
        (answering(start(200, sized(2), (b"connection", b"close")), body(b"ok")), GET),
    ):
        with serving(app) as port:
            reply = exchanged(port, request)  # comes back only when the server closes
        assert reply.count(b"connection: close") == 1
        assert reply.endswith(b"\r\n\r\nok")


def test_header_with_a_line_break_never_reaches_the_client() -> None:
    for value in (b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b"):
        with serving(answering(start(200, sized(2), (b"x-route-reason", value)), body(b"ok"))) as port:
            reply = exchanged(port, GET)
        assert reply.startswith(b"HTTP/1.1 500 ")
        assert b"set-cookie" not in reply
        assert b"x-route-reason" not in reply


def test_body_of_another_length_than_announced_breaks_the_connection_off() -> None:
    for data in (b"short", b"much too long"):
        with serving(answering(start(200, sized(8)), body(data))) as port:
            reply = exchanged(port, GET)
        assert not reply.endswith(data[-8:])


def test_reply_that_begins_with_its_body_is_an_error() -> None:
    with serving(answering(body(b"ok"))) as port:
        assert exchanged(port, GET).startswith(b"HTTP/1.1 500 ")


def test_reply_that_never_ends_is_broken_off() -> None:
    with serving(answering(start(200, sized(4)), body(b"ab", more=True))) as port:
        assert exchanged(port, GET).endswith(b"\r\n\r\nab")


def test_body_is_asked_for_when_the_client_waits_to_be_told() -> None:
    async def reading(scope: dict[str, Any], receive: Any, send: Any) -> None:
        data = (await receive())["body"]
        await send(start(200, sized(len(data))))
        await send(body(data))

    with (
        serving(reading) as port,
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
    ):
        connection.sendall(b"POST / HTTP/1.1\r\nHost: loupe\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert received(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"data")
        assert received(connection, b"\r\n\r\ndata").startswith(b"HTTP/1.1 200 OK")


def test_a_reply_that_was_sent_is_no_work_for_the_garbage_collector() -> None:
    app = answering(start(200, sized(2)), body(b"ok"))
    with serving(app) as port, socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                connection.sendall(GET)
                assert connection.recv(4096).endswith(b"ok")
            kept = sum(isinstance(each, ReplyWriter) for each in gc.get_objects())
        finally:
            gc.enable()
    assert kept <= 2
