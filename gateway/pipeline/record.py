"""The description of a finished request: one frozen record, which every observer reads by field name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from gateway.pipeline.chat_request import FetchedBytes, InlineImage
from gateway.routing.decision import Decision
from gateway.routing.exploration import Exploration
from gateway.routing.query import Query


class ReplyContent(Protocol):
    """A candidate's reply as text. Only observers that keep it read it, because reading takes time."""

    def said(self) -> str:
        """Return the text of the first choice."""
        ...


class Versions(NamedTuple):
    """The versions that a decision was based on, besides the router's: hex sha256 of the encoder, of the candidates'
    prices, and of the configuration.
    """

    encoder: str
    prices: str
    configuration: str


class Attempt(NamedTuple):
    """A candidate that was tried. `failure` is a short label, or None for the candidate that served.

    `said` is what the failure says, with the provider's own words, without secrets.
    """

    candidate: str
    failure: str | None
    cost: int
    said: str = ""


class RequestRecord(NamedTuple):
    """A request, from its first received byte to its settled charge. Money in nanodollars, times in seconds.

    Attributes:
        reason: why this candidate (`routed`, `pinned`, `declined:...`, and more behind `;`), as in `X-Route-Reason`.
        outcome: `ok`, `cut_short`, `client_left`, `refused` or `failed`.
        error_code: the code of the error that the client saw, or None.
        metered: True if the tokens are Loupe's own count, because the provider sent no usage.
        overhead_s: time that Loupe itself added: everything but waiting for the provider and the client.
        parse_s, decide_s, reserve_s: 0 if the request did not get that far; `reserve_s` is the sum over all attempts.
        dearest_cost: expected cost of the dearest candidate that could have served.
        exceeds_hold: True if the provider reported a usage that costs more than was reserved for it, which a true
            usage cannot; the reservation was charged.
        exceeded: soft windows that are over their limit with this request.
        propensity: the probability with which the decision took this candidate (1 without exploration). 0 if another
            candidate served than was decided on, because a reservation did not fit or an attempt failed: the
            probability is then unknown, and off-policy evaluation must leave the outcome out.
        prices: the source of the candidate's prices: a list and its version, or the amounts that were set.
        estimated_cost: the estimate before calibration; `expected_cost` is after calibration. Computed from
            `estimated_input_tokens` and `estimated_output_tokens` (of all replies).
        remaining: nanodollars left in the fullest window after the reply's ceiling was reserved.
        finish_reason: finish reason of the first choice that gave one, in the provider's words.

    References, so that observers compute what to keep of them later, off the request path:
        decision: every candidate's row; None if the request was refused before the decision.
        query: what was priced and encoded, with the key and size of every image.
        sources: the bytes of the images that were encoded.
        exploration: the draw, if there was one.
        reply: the reply's text, only if the operator keeps content.
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
    exceeds_hold: bool = False
    remaining: int | None = None
    finish_reason: str | None = None
    versions: Versions | None = None
    decision: Decision | None = None
    query: Query | None = None
    sources: tuple[InlineImage | FetchedBytes, ...] = ()
    exploration: Exploration | None = None
    reply: ReplyContent | None = None


Source = str | tuple[str, str]
"""The source of a value: a field, or a field and an expression of the field, in which `{0}` stands for the field."""


def reader(
    sources: Iterable[Source], make: Callable[..., Any] | None = None, parameters: Sequence[str] = ()
) -> Callable[..., Any]:
    """Make a function of a record that returns a tuple of these values, in their order, or `make` called with them.

    A source may also name one of the function's further `parameters`. The function's text is built here once, as
    `collections.namedtuple` does, because a loop over the sources takes half as long again. Needs at least two sources.
    Raises ValueError for a source that is neither a field nor a parameter.
    """
    values = []
    for source in sources:
        name, expression = (source, "{0}") if isinstance(source, str) else source
        if name not in RequestRecord._fields and name not in parameters:
            raise ValueError(f"unknown field {name!r}; known: {', '.join((*RequestRecord._fields, *parameters))}")
        values.append(expression.format(name if name in parameters else f"record.{name}"))
    made = f"{'' if make is None else 'make'}({', '.join(values)})"
    text = f"lambda {', '.join(('record', *parameters))}: {made}"
    function: Callable[..., Any] = eval(text, {"make": make})  # noqa: S307  the text is our own
    return function
