"""The decision which candidate is worth its price: a rule from forecasts, a cap and a preference to ranked choices.

score = quality - lambda * expected_cost / reference_cost, over the candidates that can serve the query within the cap.
Choices are ranked by expected cost, and reserved by their ceiling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from operator import itemgetter
from typing import Literal, NamedTuple

from gateway.billing.price import affordable_output_tokens, cost, cost_at_most
from gateway.billing.text_tokens import Tokenizer, ceiling_text_tokens, expected_text_tokens
from gateway.routing.capabilities import CHOICES, IMAGES, NEEDS, TOOLS, lacking
from gateway.routing.catalog import Candidate
from gateway.routing.query import Query, QueryMedia

EXPECTED_TOKENS_PER_MESSAGE = 4
CEILING_TOKENS_PER_MESSAGE = 16
CEILING_TOKENS_PER_REQUEST = 64
CEILING_TOKENS_OF_TOOLS = 1_024
"""Bound on the tokens that a provider itself writes before tools: 159 to 530 for Claude 3 (Anthropic, "Tool use",
pricing).
"""
INPUT_MARGIN_PERCENT = 30
"""How far a text may exceed its expected tokens when the output limit is reckoned: the worst error that was measured,
LaTeX at 77% of its true count (indented JSON 87%, Markdown tables 90%).
"""
PAGE_TEXT_TOKENS = 3_000
"""The most text tokens that Anthropic documents for a usual page of a PDF ("PDF support", estimate your costs)."""
LARGEST_LAMBDA = 1e9
"""At this lambda a nanodollar outweighs any quality, if a typical request costs a dollar or less at the dearest
candidate.
"""

OnInfeasible = Literal["refuse", "cheapest"]


@dataclass(frozen=True, slots=True)
class CandidateForecast:
    """The router's forecast for one candidate on one query (tokens are for one of `n` replies)."""

    quality: float
    quality_std: float
    output_tokens: float
    output_tokens_high: float
    expected_tokens: int = field(init=False, repr=False, compare=False)
    """`output_tokens` as a whole number, at least 0, for computing costs."""
    high_tokens: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "expected_tokens", max(round(self.output_tokens), 0))
        object.__setattr__(self, "high_tokens", max(round(self.output_tokens_high), 0))


class Assessment(NamedTuple):
    """A row of the decision table. (A named tuple, because every request makes one for every candidate.)

    Attributes:
        forecast: None when routing declined.
        input_tokens: the expected input tokens; `input_ceiling`: a bound that they cannot exceed.
        output_limit: output tokens that one reply may take, under the client's limit, the context and the cap;
            always sent to the provider, so that it cannot bill more than the ceiling. The context is reckoned with a
            margin for input that takes more tokens than expected, as far as that leaves room for the needed reply.
        expected_cost: nanodollars, for all `choices` replies.
        needed_output_tokens: the forecast 90% quantile of one reply, as far as the limits allow it.
        dropped: why the candidate cannot serve, or None.
        output_tokens: expected for all `choices` replies together, within the limit.
        estimated_cost: cost of these tokens at list price; `expected_cost` is that times the candidate's calibration.
        writes_cache: True if input may be written to the provider's prompt cache, for which some charge more.
        ceiling: the most that the request can cost, in nanodollars. This amount is reserved.
    """

    candidate: Candidate
    forecast: CandidateForecast | None
    input_tokens: int
    input_ceiling: int
    output_limit: int
    expected_cost: int
    choices: int
    needed_output_tokens: int
    score: float
    dropped: str | None = None
    output_tokens: int = 0
    estimated_cost: int = 0
    writes_cache: bool = False
    max_cost: int = 0

    @property
    def expected_tokens(self) -> int:
        """Expected input and output tokens, for all replies."""
        replied = self.forecast.expected_tokens if self.forecast else self.candidate.typical_output_tokens[0]
        return self.input_tokens + min(replied, self.output_limit) * self.choices

    @property
    def min_budget(self) -> int:
        """The least amount, in nanodollars, that does not cut a reply before its forecast 90% quantile."""
        most = cost_at_most if self.writes_cache else cost
        return most(self.candidate.price, self.input_ceiling, self.needed_output_tokens * self.choices)


class Preference(NamedTuple):
    """The preferences of the request and its tenant.

    `factors` are billed over estimated cost per candidate: expected costs are multiplied by these factors, ceilings
    never are.
    """

    price_weight: float
    cap: int | None = None
    on_infeasible: OnInfeasible = "refuse"
    factors: Mapping[str, float] | None = None


class Decision(NamedTuple):
    """Ranked choices (best first), and the dropped candidates with the reasons."""

    choices: tuple[Assessment, ...]
    dropped: tuple[Assessment, ...]
    propensity: float = 1.0

    @property
    def cheapest_feasible(self) -> Assessment | None:
        """The row that the smallest cap makes feasible; that cap is the row's floor. None if no cap is enough."""
        rows = [row for row in (*self.choices, *self.dropped) if row.dropped in (None, OVER_CAP)]
        return min(rows, key=lambda row: row.min_budget, default=None)


def price_weight_of(quality_weight: float) -> float:
    """Return lambda for a quality weight from 0 (only price counts) to 1 (only quality counts): (1 - w) / w."""
    if quality_weight <= 0:
        return LARGEST_LAMBDA
    return min((1 - quality_weight) / quality_weight, LARGEST_LAMBDA)


def decide(
    query: Query,
    candidates: Sequence[Candidate],
    forecasts: Mapping[str, CandidateForecast] | None,
    preference: Preference,
    *,
    reference_cost: int,
    is_healthy: Callable[[str], bool],
) -> Decision:
    """Rank the candidates for a query. Without forecasts, the order of `candidates` is the ranking."""
    rows = _QueryTerms(query, preference, reference_cost).rows(candidates, forecasts or {}, is_healthy)
    fitting = [row for row in rows if row.dropped is None]
    dropped = [row for row in rows if row.dropped is not None] if len(fitting) < len(rows) else []
    if forecasts is not None:
        fitting.sort(key=_EXPECTED_COST)
        fitting.sort(key=_SCORE, reverse=True)  # both sorts are stable: of equal scores the cheaper comes first
    if not fitting and preference.on_infeasible == "cheapest":
        cut_short = [row for row in dropped if row.dropped == OVER_CAP and row.output_limit >= 1]
        if cut_short:
            cheapest = min(cut_short, key=lambda row: row.min_budget)
            fitting = [cheapest._replace(dropped=None)]
            dropped.remove(cheapest)
    return Decision(tuple(fitting), tuple(dropped))


_EXPECTED_COST = itemgetter(Assessment._fields.index("expected_cost"))
_SCORE = itemgetter(Assessment._fields.index("score"))
OVER_CAP = "over_cap"
BLIND = NEEDS["images"].dropped
NO_TOOLS = NEEDS["tools"].dropped
UNHEALTHY = "resting_after_failures"
CONTEXT = "context_too_short"


def fit_to_hold(row: Assessment, query: Query, granted: int) -> int:
    """Return the output tokens that a reply may take with `granted` nanodollars (floor <= granted
    <= ceiling) reserved.
    """
    if granted >= row.max_cost:
        return row.output_limit
    affordable = affordable_output_tokens(row.candidate.price, row.input_ceiling, granted, may_write=row.writes_cache)
    if affordable is None:
        return row.output_limit
    return min(row.output_limit, affordable // query.choices)


_new = tuple.__new__  # what a named tuple's own constructor calls, without keywords: twice as fast


class _QueryTerms:
    """The terms that the assessments of all candidates share for one query.

    Written for speed, because it runs for every candidate of every request.
    """

    __slots__ = (
        "_cap",
        "_choices",
        "_factors",
        "_images",
        "_limit",
        "_media",
        "_needs",
        "_per_cost",
        "_query",
        "_text",
        "_writes_cache",
    )

    def __init__(self, query: Query, preference: Preference, reference_cost: int) -> None:
        self._cap = preference.cap
        self._choices = query.choices
        self._images = query.images
        self._limit = query.max_output_tokens
        self._media = query.media
        self._needs = (
            query.needs
            | (IMAGES if query.images else 0)
            | (CHOICES if query.choices > 1 else 0)
            | (TOOLS if query.uses_tools else 0)
        )
        self._writes_cache = query.writes_cache
        self._factors = preference.factors
        self._per_cost = preference.price_weight / reference_cost if reference_cost else 0.0
        self._query = query
        self._text: dict[str, tuple[int, int, int]] = {}

    def rows(
        self,
        candidates: Sequence[Candidate],
        forecasts: Mapping[str, CandidateForecast],
        is_healthy: Callable[[str], bool],
    ) -> list[Assessment]:
        """Return one assessment for each candidate, in their order."""
        assess, forecast_of = self._assess, forecasts.get
        return [assess(c, forecast_of(c.forecast_as), is_healthy(c.name)) for c in candidates]

    def _assess(self, candidate: Candidate, forecast: CandidateForecast | None, healthy: bool) -> Assessment:
        price, choices, cap = candidate.price, self._choices, self._cap
        writes = self._writes_cache or candidate.caches_by_itself
        at_most = cost_at_most if writes else cost
        tokenizer = candidate.tokenizer
        expected_input, margin, input_ceiling = self._text.get(tokenizer.name) or self._text_of(tokenizer)
        for image in self._images:
            tokens = candidate.image_tokens(image.width, image.height, image.detail)
            expected_input += tokens
            input_ceiling += tokens
        if self._media is not None:
            media, most = _media_tokens(candidate, self._media)
            expected_input += media
            input_ceiling += most
            margin += most - media
        room = candidate.context_tokens - expected_input
        limit = candidate.max_output_tokens
        if self._limit is not None and limit > self._limit:
            limit = self._limit
        if forecast is None:
            replied, needed = candidate.typical_output_tokens
            quality = 0.0
        else:
            replied, needed, quality = forecast.expected_tokens, forecast.high_tokens, forecast.quality
        thought = candidate.reasoning_tokens
        replied += thought[0]
        needed += thought[1]
        if limit > room - margin:
            limit = max(room - margin, min(needed, room, limit))
        if candidate.limit_parameter is None:  # nothing can cut the reply short, so that all of it must be paid for
            needed = limit = candidate.max_output_tokens
        if needed > limit:
            needed = limit
        if needed < 1:
            needed = 1
        missing = candidate.lacks & self._needs
        if missing:
            dropped: str | None = lacking(missing)
        elif room < 1:
            dropped = CONTEXT
        else:
            dropped = None if healthy else UNHEALTHY
        max_cost = at_most(price, input_ceiling, limit * choices)
        if cap is not None and max_cost > cap and dropped is None:
            affordable = affordable_output_tokens(price, input_ceiling, cap, may_write=writes)
            limit = (affordable or 0) // choices
            dropped = OVER_CAP if limit < needed else None
            if dropped is not None and candidate.limit_parameter is None:
                limit = 0
            max_cost = at_most(price, input_ceiling, limit * choices)
        if limit < 0:
            limit, max_cost = 0, at_most(price, input_ceiling, 0)
        output = (replied if replied < limit else limit) * choices
        estimated = expected = cost(price, expected_input, output)
        if self._factors is not None and (factor := self._factors.get(candidate.name, 1.0)) != 1.0:
            expected = ceil(estimated * factor)
            if expected > max_cost and factor > 1.0:
                expected = max_cost if max_cost > estimated else estimated
        return _new(
            Assessment,
            (
                candidate,
                forecast,
                expected_input,
                input_ceiling,
                limit,
                expected,
                choices,
                needed,
                quality - self._per_cost * expected,
                dropped,
                output,
                estimated,
                writes,
                max_cost,
            ),
        )

    def _text_of(self, tokenizer: Tokenizer) -> tuple[int, int, int]:
        """Return the expected tokens of the text for this tokenizer, by how many it may well exceed them, and the
        most that it can have; computed once for all its candidates.
        """
        query = self._query
        tools = query.uses_tools or query.lists_tools
        if query.shape is None:
            expected, most = expected_text_tokens(query.prompt_bytes), ceiling_text_tokens(query.prompt_bytes)
        else:
            expected, most = tokenizer.expected(query.shape), tokenizer.ceiling(query.shape)
        margin = min(-(-expected * INPUT_MARGIN_PERCENT // 100), most - expected)
        expected += EXPECTED_TOKENS_PER_MESSAGE * query.messages + (tokenizer.tools_prompt if tools else 0)
        most += CEILING_TOKENS_PER_MESSAGE * query.messages + CEILING_TOKENS_PER_REQUEST
        most += CEILING_TOKENS_OF_TOOLS if tools else 0
        self._text[tokenizer.name] = expected, margin, most
        return expected, margin, most


def _media_tokens(candidate: Candidate, media: QueryMedia) -> tuple[int, int]:
    """Return the tokens to expect of sound and PDF files, and the most that they can have.

    A page is expected at half of its bound: Claude was measured at 2,100 to 2,500 tokens a page, Gemini at 560.
    """
    sound, page = candidate.audio_tokens_per_second, candidate.page_tokens
    dense = media.page_text_bytes - PAGE_TEXT_TOKENS * media.pages
    expected = sound * media.seconds + page * media.pages // 2
    return expected, sound * media.most_seconds + page * media.pages + (dense if dense > 0 else 0)
