"""The ratio of bills to estimates, per candidate: learned from every complete reply, used to rank, watched for drift.

Ratios are of fading sums: the billed sum over the estimated sum, where each reply weighs 1% less than the reply after
it, so that about the last hundred count. To be right in total, expected costs must be multiplied by a ratio of sums; a
mean of ratios would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.pipeline.record import RequestRecord

EFFECTIVE_REPLIES = 100
PRIOR_REPLIES = 20
"""Weight of the assumption that a candidate is estimated correctly, as a number of replies."""
LEAST_FACTOR, LARGEST_FACTOR = 0.25, 4.0
DRIFTS_OUTSIDE = (0.8, 1.25)
DRIFT_ENDS_WITHIN = (0.85, 1.18)
"""Narrower than DRIFTS_OUTSIDE, so that a ratio at the edge does not start and end a drift repeatedly."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A drift: a candidate's bills have moved away from the estimates, or (`began` is False) are
    close to them again.
    """

    candidate: str
    ratio: float
    began: bool


class Calibration:
    """Implements `Observer`. It calls `report` once when a drift begins and once when it ends."""

    def __init__(self, candidates: Iterable[str], report: Callable[[Drift], None]) -> None:
        self._ratios = {name: _Ratios() for name in candidates}
        self._report = report
        self._factors: dict[str, float] = {}
        self.factors: Mapping[str, float] = MappingProxyType(self._factors)
        """Per candidate that has replied: the factor to multiply its expected costs by. A live view."""

    def follow(self, candidates: Iterable[str]) -> None:
        """Learn about these candidates too; what was learned about others is kept."""
        for name in candidates:
            self._ratios.setdefault(name, _Ratios())

    def observe(self, record: RequestRecord) -> None:
        """Learn from a complete reply with the provider's own usage.

        The reply's input always counts. Its output and cost count only if they were forecast: a pinned or declined
        request is estimated at a typical length, which says nothing about forecasts.
        """
        ratios = self._ratios.get(record.candidate or "")
        if ratios is None or record.candidate is None or record.outcome != "ok":
            return
        if record.metered or record.exceeds_hold:
            return
        ratios.input.add(record.input_tokens, record.estimated_input_tokens)
        if record.forecast_quality is None or not record.attempts:
            return
        ratios.output.add(record.output_tokens, record.estimated_output_tokens)
        if record.estimated_cost <= 0:  # the candidate is free
            return
        ratios.cost.add(record.attempts[-1].cost, record.estimated_cost)
        self._factors[record.candidate] = min(max(ratios.cost.factor, LEAST_FACTOR), LARGEST_FACTOR)
        self._watch(record.candidate, ratios)

    def ratios(self, of: str) -> dict[str, float]:
        """Return billed over estimated per candidate that has replied; `of` is `cost`, `input` or `output`."""
        found = {name: getattr(ratios, of) for name, ratios in self._ratios.items()}
        return {name: fading.ratio for name, fading in found.items() if fading.estimated}

    def drifting(self) -> dict[str, float]:
        """Return 1 per candidate whose bills have moved away from the estimates, else 0."""
        return {name: float(ratios.drifts) for name, ratios in self._ratios.items()}

    def _watch(self, candidate: str, ratios: _Ratios) -> None:
        if ratios.cost.replies < EFFECTIVE_REPLIES:
            return
        least, most = DRIFT_ENDS_WITHIN if ratios.drifts else DRIFTS_OUTSIDE
        ratio = ratios.cost.ratio
        drifts = not least <= ratio <= most
        if drifts != ratios.drifts:
            ratios.drifts = drifts
            self._report(Drift(candidate, ratio, began=drifts))


class _FadingSums:
    """Two sums that fade together."""

    __slots__ = ("billed", "estimated", "replies", "weight")

    def __init__(self) -> None:
        self.billed = self.estimated = self.weight = 0.0
        self.replies = 0

    def add(self, billed: int, estimated: int) -> None:
        """Add a reply. A reply that was estimated at nothing (free, or empty) has no ratio and is ignored."""
        if estimated <= 0:
            return
        keep = 1 - 1 / EFFECTIVE_REPLIES
        self.billed = self.billed * keep + billed
        self.estimated = self.estimated * keep + estimated
        self.weight = self.weight * keep + 1
        self.replies += 1

    @property
    def ratio(self) -> float:
        return self.billed / self.estimated

    @property
    def factor(self) -> float:
        """The ratio, pulled towards 1 while replies are few."""
        prior = PRIOR_REPLIES * self.estimated / self.weight
        return (self.billed + prior) / (self.estimated + prior)


class _Ratios:
    """The ratios of one candidate."""

    __slots__ = ("cost", "drifts", "input", "output")

    def __init__(self) -> None:
        self.cost, self.input, self.output = _FadingSums(), _FadingSums(), _FadingSums()
        self.drifts = False
