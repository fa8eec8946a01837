"""The request to a candidate about a row: its body, its possible cost, and the text of its reply."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from gateway.billing.text_tokens import shape_of
from gateway.errors import ConfigError
from gateway.outcomes.collect.dataset import Picture, Row
from gateway.pipeline.chat_request import ChatRequest, body_for
from gateway.routing.catalog import Candidate
from gateway.routing.circuit_breaker import always_well
from gateway.routing.decision import Assessment, Preference, decide
from gateway.routing.query import Query, QueryImage

_ANY_COST = Preference(price_weight=0.0)


@dataclass(frozen=True, slots=True)
class Manner:
    """The manner of asking each row: a system message before it, and the longest reply in tokens (None: the candidate's
    limit).
    """

    instruction: str | None = None
    max_tokens: int | None = None


def query_of(row: Row, manner: Manner) -> Query:
    """Return the row as a query for pricing."""
    texts = [row.question] if manner.instruction is None else [manner.instruction, row.question]
    shape = shape_of(texts)
    picture = row.picture
    return Query(
        text=row.question,
        prompt_bytes=shape.most_bytes,
        messages=len(texts),
        images=() if picture is None else (_priced(picture),),
        max_output_tokens=manner.max_tokens,
        shape=shape,
    )


def assess(query: Query, candidate: Candidate) -> Assessment:
    """Return the assessment of the candidate for a query; `dropped` says why it cannot be asked."""
    decision = decide(query, [candidate], None, _ANY_COST, reference_cost=0, is_healthy=always_well)
    return (*decision.choices, *decision.dropped)[0]


def form_of(row: Row, choice: Assessment, manner: Manner) -> str:
    """Return a digest of everything that decides what is asked: a cell that was asked differently is another cell."""
    image = row.picture.sha256 if row.picture else ""
    parts = (manner.instruction, row.question, image, choice.candidate.provider_model, manner.max_tokens)
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def body_of(row: Row, choice: Assessment, manner: Manner) -> bytes:
    """Return the request for one candidate. Raises ConfigError if the image cannot be read any more, or has changed."""
    messages: list[dict[str, Any]] = []
    if manner.instruction is not None:
        messages.append({"role": "system", "content": manner.instruction})
    content: Any = row.question
    if row.picture is not None:
        content = [
            {"type": "text", "text": row.question},
            {"type": "image_url", "image_url": {"url": _data_url(row.picture)}},
        ]
    messages.append({"role": "user", "content": content})
    request = ChatRequest(
        model=choice.candidate.name,
        fields={"messages": json.dumps(messages).encode()},
        query=query_of(row, manner),
        images=(),
        remote=(),
        streamed=False,
        wants_usage=False,
        cap=None,
        quality_weight=None,
        allowed=None,
    )
    candidate = choice.candidate
    return body_for(request, candidate.provider_model, candidate.limit_parameter, choice.output_limit)


def said_in(body: bytes) -> tuple[str, str]:
    """Return the first choice's text and finish reason, from a reply that `read_whole` accepted."""
    choices = json.loads(body)["choices"]
    choice = choices[0] if choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        content = "\n".join(part["text"] for part in content if isinstance(part, dict) and _is_text(part.get("text")))
    return content if isinstance(content, str) else "", str(choice.get("finish_reason") or "")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _priced(picture: Picture) -> QueryImage:
    return QueryImage(picture.header.width, picture.header.height, "auto", bytes.fromhex(picture.sha256))


def _data_url(picture: Picture) -> str:
    try:
        content = picture.path.read_bytes()
    except OSError as error:
        raise ConfigError(f"image {picture.path}: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != picture.sha256:
        raise ConfigError(f"image {picture.path} was changed while it was asked about")
    return f"data:{picture.header.media_type};base64,{base64.b64encode(content).decode()}"
