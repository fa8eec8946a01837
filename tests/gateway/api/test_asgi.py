"""A body is read as far as its limit and no further."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import Request

from gateway.api.asgi import no_json, small_body
from gateway.errors import BodyTooLarge


def sent(*parts: bytes) -> tuple[Request, list[bytes]]:
    """A request whose body comes in parts, and those that have not been read yet."""
    left = list(parts)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    return Request({"type": "http", "headers": []}, receive), left


@pytest.mark.parametrize("parts", [[b""], [b"12345"], [b"12", b"", b"345"]])
def test_a_body_up_to_the_limit_is_read_whole(parts: Sequence[bytes]) -> None:
    request, _ = sent(*parts)
    assert asyncio.run(small_body(request, 5)) == b"".join(parts)


def test_what_is_over_the_limit_is_not_waited_for() -> None:
    request, left = sent(b"123", b"456", b"789")
    with pytest.raises(BodyTooLarge, match="limit of 5 bytes") as refusal:
        asyncio.run(small_body(request, 5))
    assert refusal.value.status == 413
    assert left == [b"789"]


def test_what_a_parser_says_is_told_in_part() -> None:
    told = no_json(ValueError("x" * 1_000))
    assert (told.status, told.code) == (400, "invalid_json")
    assert told.message.startswith("the body is not valid JSON: xxx") and len(told.message) == 300
