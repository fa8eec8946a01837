"""The client's side of a request, in memory."""

from __future__ import annotations

import asyncio

from gateway.errors import RequestError
from gateway.pipeline.direct_writer import Outlet
from gateway.pipeline.state import Header


class FakeSink:
    """Implements `gateway.pipeline.relay.Sink`, and keeps what the client would see.

    `fail` is raised by the first write. `leave` hangs up as a client does: the task under way is cancelled.
    """

    outlet: Outlet | None = None

    def __init__(self, fail: Exception | None = None) -> None:
        self.client_left = False
        self.started = False
        self.complete = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.refusals: list[RequestError] = []
        self._fail = fail

    async def start(self, status: int, content_type: bytes, headers: list[Header], length: int | None) -> None:
        assert not self.started, "the reply was begun twice"
        self.started, self.status = True, status
        self.headers = {name.decode(): value.decode() for name, value in headers}

    async def write(self, data: bytes, *, last: bool = False) -> None:
        assert self.started and not self.complete
        if self._fail is not None:
            raise self._fail
        self.body += data
        self.complete = last

    async def refuse(self, error: RequestError, headers: list[Header]) -> None:
        await self.start(error.status, b"application/json", headers, 0)
        self.refusals.append(error)
        self.complete = True

    async def leave(self) -> None:
        """Hang up: await it in the request's own task."""
        self.client_left = True
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    @property
    def refusal(self) -> RequestError:
        """The only refusal; there must be one and no more."""
        assert len(self.refusals) == 1, f"{len(self.refusals)} refusals"
        return self.refusals[0]
