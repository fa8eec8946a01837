"""Decoding a JSON value, with faults told as the client should read them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from gateway.errors import InvalidRequest

TEXT = msgspec.json.Decoder(str)


def decode(decoder: msgspec.json.Decoder[Any], raw: bytes | Raw, where: str) -> Any:
    """The decoded value. Raises InvalidRequest, naming the member below `where` and showing the value."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        param = where + path.rstrip("`")
        raise InvalidRequest(f"{param or 'body'}: {reason} in {shown(raw)}", param=param or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply", code="invalid_json") from None


def shown(raw: bytes | Raw | None) -> str:
    """The start of a value, for a message."""
    text = bytes(memoryview(raw or b"null")[:60]).decode("utf-8", "replace")
    return text if len(text) < 60 else text[:57] + "..."
