"""Exchanges on a pool's connections, as the provider does them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.providers.http_connection import Connection
from gateway.providers.http_pool import ConnectionPool, Origin

from .raw_server import RawServer, sized

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
OK = sized(b"ok")


@asynccontextmanager
async def pool_at(server: RawServer, largest: int = 1) -> AsyncIterator[ConnectionPool]:
    pool = ConnectionPool(Origin.of(server.url), largest=largest, connect_s=10.0)
    try:
        yield pool
    finally:
        pool.close()


def soon() -> float:
    """A deadline that no test comes to."""
    return asyncio.get_running_loop().time() + 15.0


async def asked(pool: ConnectionPool, body: bytes = b"{}") -> Connection:
    """A connection on which a request was sent; the reply's headers have come."""
    connection = await pool.take(soon())
    try:
        await connection.exchange(HEAD, body, 10.0, soon())
    except BaseException:
        connection.release()
        raise
    return connection


async def read_out(connection: Connection) -> bytes:
    """The rest of the reply; then the connection is released."""
    try:
        parts = []
        while data := await connection.read():
            parts.append(data)
        return b"".join(parts)
    finally:
        connection.release()
