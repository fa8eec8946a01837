"""`POST /v1/chat/completions` and `POST /v1/route`, as raw ASGI: the request path that must be fast."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

from gateway.api.asgi import AsgiSink, ClientHangUp, Receive, Send
from gateway.api.auth import authenticate
from gateway.api.parse.chat import ChatLimits, parse_chat
from gateway.api.preview import decision_table
from gateway.errors import RequestError
from gateway.pipeline.observer import RefusalObserver
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.state import RequestState
from gateway.tenants.tenant import Tenants


class ChatRoutes:
    """The two routes that read a chat completion: one serves it, the other only says what would be done."""

    def __init__(
        self,
        pipeline: Pipeline,
        tenants: Tenants,
        limits: ChatLimits,
        largest_body: int,
        refusals: RefusalObserver,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Take the parts. `clock` gives seconds since the epoch; `timer` gives seconds from any origin, and times
        requests.
        """
        self._pipeline = pipeline
        self.resting = pipeline.resting
        self._tenants = tenants
        self._limits = limits
        self._largest_body = largest_body
        self._refusals = refusals
        self._clock = clock
        self._timer = timer

    async def completions(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        sink = AsgiSink(scope, receive, send)
        state = await self._state(scope, sink)
        if state is not None:
            await sink.run(self._pipeline.serve(state, sink))

    async def route(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        sink = AsgiSink(scope, receive, send)
        state = await self._state(scope, sink)
        if state is None:
            return
        try:
            decision = await self._pipeline.preview(state)
        except RequestError as error:
            await sink.refuse(error, state.headers())
            return
        body = json.dumps(decision_table(state, decision)).encode()
        await sink.start(200, b"application/json", state.headers(), len(body))
        await sink.write(body, last=True)

    async def _state(self, scope: dict[str, Any], sink: AsgiSink) -> RequestState | None:
        """Return the parsed request. Returns None, after answering, if it was refused or its client left."""
        began = self._timer()
        request_id = _new_request_id()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            tenant = authenticate(headers, self._tenants)
            body = await sink.read_body(headers, self._largest_body)
            read = self._timer()
            request = parse_chat(body, headers, self._limits)
            parse_s = self._timer() - read
            state = RequestState(request_id, tenant, request, began, self._clock(), self._timer)
            state.parse_s = parse_s
            return state
        except RequestError as error:
            self._refusals.refused_early(error)
            await sink.refuse(error, [(b"x-request-id", request_id.encode())])
        except ClientHangUp:
            pass
        return None


def _new_request_id() -> str:
    """Return a unique id that rises with time, so that rows written together are close together in
    the store's indexes.
    """
    return f"req_{time.time_ns() // 1000:014x}{random.getrandbits(40):010x}"
