"""A reply that was not streamed: a chat completion, or what a provider sends instead of one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gateway.billing.usage import Usage, usage_of
from gateway.errors import ProviderError
from gateway.providers.refusal import read_refusal
from gateway.providers.reply_text import bytes_said, choices_of, error_body, error_in, said_in, status_in, with_cost
from gateway.providers.sse import MODEL, decode

BYTES_PER_TOKEN = 4
LONGEST_ERROR = 65_536
UNTOLD_STATUS = 500
"""The status that an error without one is read as: the fault is the provider's, unless its words blame the request."""


class BrokenReply(ValueError):
    """A whole reply that broke off, or a stream's event without an end."""


@dataclass(frozen=True, slots=True)
class WholeReply:
    """A reply that was not streamed, with the candidate's name in it."""

    body: bytes
    usage: Usage | None
    _payload: dict[str, Any]

    @property
    def output_tokens(self) -> int:
        """Our own count of the output tokens, for when the provider sent none."""
        return -(-bytes_said(self._payload) // BYTES_PER_TOKEN)

    @property
    def finish_reason(self) -> str | None:
        return finish_reason_in(self._payload["choices"])

    def said(self) -> str:
        """Return the text of the first choice."""
        return said_in(self._payload, "message")

    def priced(self, candidate: str, usd: float) -> bytes:
        """Return the body with its cost, in USD, in its usage."""
        return with_cost(self.body, {**self._payload, "model": candidate}, usd)


def read_whole(body: bytes, candidate: str) -> WholeReply:
    """Read a whole reply.

    Raises BrokenReply for a completion that broke off, and ProviderError for an error, a page or a text that a provider
    sent with status 200, and for a completion without choices: then there is no reply to pay for.
    """
    try:
        payload = decode(body)
    except (ValueError, RecursionError) as error:
        if body.lstrip()[:1] in (b"{", b"[") and b'"error"' not in body[:LONGEST_ERROR]:
            raise BrokenReply(f"the reply is not valid JSON: {error}") from None
        raise not_a_reply(body, candidate, None) from None
    choices = choices_of(payload)
    told = error_in(payload)
    if told is not None and (not payload.get("error") or not bytes_said(payload)):
        raise not_a_reply(body if payload.get("error") else error_body(told), candidate, told)
    if not choices:
        is_empty = isinstance(payload, dict) and isinstance(payload.get("choices"), list)
        raise not_a_reply(body, candidate, payload, is_empty=is_empty)
    named = b'"model":' + json.dumps(candidate).encode()
    found = list(MODEL.finditer(body))
    if len(found) == 1 and isinstance(payload.get("model"), str):
        renamed = body[: found[0].start()] + named + body[found[0].end() :]
    else:  # then it is unclear which `model` is the reply's own
        renamed = json.dumps({**payload, "model": candidate}).encode()
    return WholeReply(renamed, usage_of(payload), payload)


def not_a_reply(body: bytes, candidate: str, error: Any, *, is_empty: bool = False) -> ProviderError:
    """Return the failure of a candidate whose provider sent something else than a reply, with status 200."""
    body = body[:LONGEST_ERROR]
    if is_empty or not body.strip():
        return ProviderError(f"{candidate} sent a reply without choices", reason="empty_reply", body=body)
    return told_error(f"{candidate} sent an error instead of a reply", "error_body", status_in(error), body)


def told_error(message: str, reason: str, status: int | None, body: bytes) -> ProviderError:
    """Return the failure that an error within a reply of status 200 tells of; `status` is the error's own, if any."""
    refusal = read_refusal(UNTOLD_STATUS if status is None else status, body, {})
    return refusal.error(message, reason, status, body)


def partial_output_tokens(body: bytes) -> int:
    """Return the output tokens of a whole reply that broke off: only its bytes are known, so they count as text."""
    return -(-len(body) // BYTES_PER_TOKEN)


def finish_reason_in(choices: list[Any]) -> str | None:
    """Return the first finish reason. A provider may send anything; only a string of 1 to 40 characters is a reason."""
    reasons = [choice.get("finish_reason") for choice in choices if isinstance(choice, dict)]
    return next((reason for reason in reasons if isinstance(reason, str) and 0 < len(reason) <= 40), None)
