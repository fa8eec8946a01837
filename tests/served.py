"""An ASGI app on a real socket, by a uvicorn in a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


@contextmanager
def served(app: Any, **settings: Any) -> Iterator[tuple[int, uvicorn.Server]]:
    """Serve it on a free port of 127.0.0.1 while the block runs; `settings` are uvicorn's. Clients may connect at once,
    and are answered as soon as the server has `started`, unless it ended without.
    """
    server = _Server(uvicorn.Config(app, ws="none", access_log=False, log_config=None, server_header=False, **settings))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        thread = threading.Thread(target=_run, args=(server, listener), name="served")
        thread.start()
        try:
            assert server.up.wait(60), "it neither started nor ended"
            yield listener.getsockname()[1], server
        finally:
            server.should_exit = True
            thread.join()


def _run(server: _Server, listener: socket.socket) -> None:
    try:
        server.run(sockets=[listener])
    finally:
        server.up.set()


class _Server(uvicorn.Server):
    """Starts and stops as uvicorn's own, which looks only every tenth of a second whether it is time, and then waits
    another: hundreds of these are started and stopped.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        while not self.should_exit:
            await asyncio.sleep(0.005)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:
            await asyncio.sleep(0.001)
        await self.lifespan.shutdown()
