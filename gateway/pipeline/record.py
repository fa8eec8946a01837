"""What is kept of a finished request: one frozen record, taken by every observer, which reads it by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from gateway.pipeline.chat_request import FetchedBytes, InlineImage
from gateway.routing.decision import Decision
from gateway.routing.exploration import Exploration
from gateway.routing.query import Query


class ReplyContent(Protocol):
    """What a candidate said, read only by those who keep it: reading it takes time."""

    def said(self) -> str:
        """The text of its first choice."""
        ...


class Versions(NamedTuple):
    """What a decision was made by, beside the router: hex sha256 of the encoder, of the candidates' prices, and of the
    configuration.
    """

    encoder: str
    prices: str
    configuration: str


class Attempt(NamedTuple):
    """One candidate that was tried: `failure` is a short label, None for the one that served."""

    candidate: str
    failure: str | None
    cost: int


class RequestRecord(NamedTuple):
    """A request, from its first byte in to its settled charge. Money in nanodollars, times in seconds.

    Attributes:
        reason: why this candidate (`routed`, `pinned`, `declined:...`, and more behind `;`), as in `X-Route-Reason`.
        outcome: `ok`, `cut_short`, `client_left`, `refused` or `failed`.
        error_code: the code of the error the client saw, or None.
        metered: whether the tokens are Loupe's own count, because the provider sent no usage.
        overhead_s: time that Loupe itself added: everything but waiting for the provider and the client.
        parse_s, decide_s, reserve_s: 0 where the request did not come so far; `reserve_s` is of all attempts together.
        dearest_cost: expected cost of the dearest candidate that could have served.
        exceeded: soft windows that are over their limit with it.
        propensity: with what probability the decision took this candidate (1 without exploration). 0 where another
            served than was decided on, because a hold did not fit or an attempt failed: nobody knows it then, and
            off-policy evaluation must leave the outcome out.
        prices: by which prices the candidate was estimated and charged: a list and its version, or what was set.
        estimated_cost: the estimate before it was calibrated; `expected_cost` is after. Made of
            `estimated_input_tokens` and `estimated_output_tokens` (of all replies).
        remaining: nanodollars that the fullest window had left once the reply's ceiling was held.
        finish_reason: of the first choice that gave one, as the provider words it.

    References, so that what is kept of them is worked out later, off the path:
        decision: every candidate's row; None where the request was refused before.
        query: what was priced and encoded, with the key and size of every image.
        sources: the images that were encoded, in their bytes.
        exploration: the draw, where there was one.
        reply: what was said, only where the operator keeps content.
    """

    request_id: str
    started_at: float
    tenant: str
    candidate: str | None
    reason: str
    outcome: str
    status: int
    error_code: str | None
    streamed: bool
    images: int
    prompt_bytes: int
    input_tokens: int
    output_tokens: int
    metered: bool
    expected_cost: int
    held: int
    cost: int
    forecast_quality: float | None
    propensity: float
    price_weight: float | None
    cap: int | None
    attempts: tuple[Attempt, ...]
    dropped: tuple[tuple[str, str], ...]
    router_digest: str
    encode_s: float
    first_byte_s: float | None
    total_s: float
    overhead_s: float
    parse_s: float = 0.0
    decide_s: float = 0.0
    reserve_s: float = 0.0
    dearest_cost: int = 0
    prices: str = ""
    estimated_cost: int = 0
    estimated_input_tokens: int = 0
    estimated_output_tokens: int = 0
    exceeded: tuple[str, ...] = ()
    remaining: int | None = None
    finish_reason: str | None = None
    versions: Versions | None = None
    decision: Decision | None = None
    query: Query | None = None
    sources: tuple[InlineImage | FetchedBytes, ...] = ()
    exploration: Exploration | None = None
    reply: ReplyContent | None = None


Source = str | tuple[str, str]
"""Where a value comes from: a field, or a field and an expression of it, in which `{0}` stands for the field."""


def reader(
    sources: Iterable[Source], make: Callable[..., Any] | None = None, parameters: Sequence[str] = ()
) -> Callable[..., Any]:
    """Make a function of a record that returns a tuple of these values, in their order, or `make` called with them.

    A source may also name one of the function's further `parameters`. The function's text is put together here once, as
    `collections.namedtuple` does: a loop over the sources takes half as long again. There are two sources or more.
    Raises ValueError for a source that names neither a field nor a parameter.
    """
    values = []
    for source in sources:
        name, expression = (source, "{0}") if isinstance(source, str) else source
        if name not in RequestRecord._fields and name not in parameters:
            raise ValueError(f"unknown field {name!r}; known: {', '.join((*RequestRecord._fields, *parameters))}")
        values.append(expression.format(name if name in parameters else f"record.{name}"))
    made = f"{'' if make is None else 'make'}({', '.join(values)})"
    text = f"lambda {', '.join(('record', *parameters))}: {made}"
    function: Callable[..., Any] = eval(text, {"make": make})  # noqa: S307  our own words
    return function
