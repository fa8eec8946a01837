"""Reading the body of a route of FastAPI's, which is small or refused."""

from __future__ import annotations

from starlette.requests import Request

from gateway.errors import BodyTooLarge, InvalidRequest


async def small_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises BodyTooLarge once it is over `limit` bytes."""
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > limit:
            raise BodyTooLarge(f"the body is over the limit of {limit} bytes")
    return raw


def no_json(error: Exception) -> InvalidRequest:
    """What is told of a body that a parser does not take."""
    return InvalidRequest(f"the body is no JSON: {error}"[:300], code="invalid_json")
