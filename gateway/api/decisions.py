"""`GET /v1/decisions/{id}` and `POST /v1/feedback`: a tenant's own decisions, and its labels on them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI, Request

from gateway.api.asgi import no_json, small_body
from gateway.api.auth import caller
from gateway.api.services import ApiServices, Decisions
from gateway.errors import InvalidRequest, NotFoundError
from gateway.outcomes.label import Label, LabelError

LARGEST_BODY = 16 * 1024
WRITTEN_WITHIN_S = 1.0
"""Seconds within which a decision is in the log after its answer: the lookup of a younger id is repeated."""
ASK_AGAIN_S = 0.05
YOUNG_S = 700.0
"""Seconds that the longest requests take to end; a request's id contains the time when the request began."""
Found = TypeVar("Found")
_THUMBS = {"up": 1.0, "down": 0.0}


class Feedback(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/feedback`."""

    request_id: str
    score: float | str
    source: str = "client"
    comment: str | None = None
    version: str = ""
    probability: float = 1.0


def mount(app: FastAPI, services: ApiServices) -> None:
    """Add the routes of this file to the application."""
    DecisionRoutes(services).mount(app)


class DecisionRoutes:
    """A tenant's view of its own decisions, and its labels on them."""

    def __init__(self, services: ApiServices, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take the services. `monotonic` gives seconds, and limits the wait for a decision that is
        not in the log yet.
        """
        self._services = services
        self._monotonic = monotonic

    def mount(self, app: FastAPI) -> None:
        app.add_api_route("/v1/decisions/{request_id}", self.decision, methods=["GET"])
        app.add_api_route("/v1/feedback", self.feedback, methods=["POST"])

    async def decision(self, request: Request, request_id: str) -> Mapping[str, Any]:
        tenant, log = caller(request, self._services.tenants), self._log()
        return await self._found(request_id, lambda: log.shown(tenant.name, request_id))

    async def feedback(self, request: Request) -> dict[str, Any]:
        """Label one request. A repeated label from the same source replaces the earlier one."""
        tenant, log = caller(request, self._services.tenants), self._log()
        label = _label(await small_body(request, LARGEST_BODY))
        try:
            labelled = await self._found(label.request_id, lambda: log.label(tenant.name, label))
        except LabelError as refused:
            raise _as_error(refused) from None
        return {
            "object": "feedback",
            "request_id": label.request_id,
            "source": label.source,
            "score": label.score,
            "candidate": labelled.candidate,
            "replaced": not labelled.is_new,
        }

    def _log(self) -> Decisions:
        if self._services.decisions is None:
            raise NotFoundError("this gateway keeps no decisions (decisions.keep)", code="decisions_not_kept")
        return self._services.decisions

    async def _found(self, request_id: str, ask: Callable[[], Awaitable[Found | None]]) -> Found:
        """Ask until the log answers, as long as the decision may still be on its way there. Raises NotFoundError."""
        if not request_id.isascii():
            raise _not_found(request_id)
        deadline = self._monotonic() + WRITTEN_WITHIN_S
        while (found := await ask()) is None:
            if not _is_young(request_id) or self._monotonic() >= deadline:
                raise _not_found(request_id)
            await asyncio.sleep(ASK_AGAIN_S)
        return found


def _not_found(request_id: str) -> NotFoundError:
    return NotFoundError(f"unknown request {request_id[:80]!r}: it is not among your requests", param="request_id")


def _is_young(request_id: str) -> bool:
    """Return whether the request may have ended only now; its id contains the time when it began."""
    prefix, _, rest = request_id.partition("_")
    try:
        age_s = time.time() - int(rest[:14], 16) / 1e6
    except ValueError:
        return False
    return prefix == "req" and len(rest) == 24 and -1 <= age_s < YOUNG_S


def _label(raw: bytes) -> Label:
    try:
        body = msgspec.json.decode(raw, type=Feedback)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error), param=_path(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise no_json(error) from None
    score = _THUMBS.get(body.score) if isinstance(body.score, str) else body.score
    if score is None:
        what = f"score: {str(body.score)[:40]!r} is not a number from 0 to 1, 'up' or 'down'"
        raise InvalidRequest(what, param="score")
    try:
        return Label(body.request_id, score, body.source, body.version, body.probability, body.comment)
    except LabelError as refused:
        raise _as_error(refused) from None


def _path(message: str) -> str | None:
    """Return the path in a message: `score` of "Expected `float | str`, got `null` - at `$.score`"."""
    _, at, path = message.rpartition("`$.")
    return path.rstrip("`") if at else None


def _as_error(refused: LabelError) -> InvalidRequest:
    return InvalidRequest(str(refused), param=refused.param, code=refused.code)
