"""A provider that does what a test says, byte by byte, over raw sockets, and remembers what it was sent.

A script is `async (call) -> None`: it is given one request and writes what it likes. The connection is closed after
it, so that every call has its own, and `call.left` tells whether the gateway closed it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 60.0


@dataclass(eq=False)
class Call:
    """One request as it came, and the connection to answer it on. `left`: the peer closed before the script ended."""

    path: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter
    gone: asyncio.Event
    left: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def model(self) -> str:
        return str(self.json["model"])

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def until_left(self) -> None:
        """Say no more until the peer hangs up."""
        await asyncio.wait_for(self.gone.wait(), PATIENCE_S)

    def reset(self) -> None:
        """Break the connection off: the peer sees a reset, not an end."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Call], Awaitable[None]]


class ScriptedProvider:
    """Scripts by the model that is asked for. `url` is what goes into a configuration as `base_url`."""

    def __init__(self, default: Script) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self._default = default
        self._scripts: dict[str, list[Script]] = {}
        self._changed = threading.Condition()

    def on(self, model: str, *scripts: Script) -> None:
        """Answer this model's next requests so, in order; the last script stays."""
        self._scripts[model] = list(scripts)

    def forget(self) -> None:
        """Back to the default script, with no call remembered."""
        self._scripts.clear()
        self.calls.clear()

    def wait_for_calls(self, count: int) -> list[Call]:
        """The calls, as soon as there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.calls) >= count, PATIENCE_S), f"{len(self.calls)} calls"
            return list(self.calls)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            call = await _read_call(reader, writer)
            watch = asyncio.create_task(_watch(reader, call))
            with self._changed:
                self.calls.append(call)
                self._changed.notify_all()
            try:
                await self._next_script(call.model)(call)
            finally:
                call.ended.set()
                watch.cancel()
        writer.close()  # and no more: who waits for the end is cancelled with the loop, and asyncio reports it

    def _next_script(self, model: str) -> Script:
        scripts = self._scripts.get(model)
        if not scripts:
            return self._default
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]


@contextmanager
def scripted_provider(default: Script) -> Iterator[ScriptedProvider]:
    """A provider on a free port of 127.0.0.1, in a thread with a loop of its own, while the block runs."""
    provider = ScriptedProvider(default)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(provider.serve, "127.0.0.1", 0, limit=2**26)
        provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        await stop.wait()
        server.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="scripted-provider")
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        yield provider
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def wait_until(is_met: Callable[[], bool], what: str, limit_s: float = PATIENCE_S) -> None:
    """Ask again and again until it is so; fails when it is not in time."""
    deadline = time.monotonic() + limit_s
    while not is_met():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.005)


async def _read_call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = [line.split(":", 1) for line in head[1:] if line]
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Call(head[0].split(" ")[1], headers, body, writer, asyncio.Event())


async def _watch(reader: asyncio.StreamReader, call: Call) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(65_536):
            pass
    call.left.set()
    call.gone.set()
