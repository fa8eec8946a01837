"""How far bills are from estimates, per candidate: learned from every complete reply, used to rank, watched for drift.

Ratios are of sums that fade: what was billed over what was estimated, each reply weighing 1% less than the one after
it, so that about the last hundred count. A ratio of sums is what expected costs must be multiplied by to be right in
total; a mean of ratios is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.pipeline.record import RequestRecord

EFFECTIVE_REPLIES = 100
PRIOR_REPLIES = 20
"""A candidate is taken to be estimated right until told otherwise: as if this many replies had been."""
LEAST_FACTOR, LARGEST_FACTOR = 0.25, 4.0
DRIFTS_OUTSIDE = (0.8, 1.25)
DRIFT_ENDS_WITHIN = (0.85, 1.18)
"""Narrower, so that a ratio at the edge does not start and stop by turns."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A candidate's bills have left what is estimated, or came back to it (`began` is False then)."""

    candidate: str
    ratio: float
    began: bool


class Calibration:
    """Implements `Observer`. `report` is told once when a drift begins and once when it ends."""

    def __init__(self, candidates: Iterable[str], report: Callable[[Drift], None]) -> None:
        self._ratios = {name: _Ratios() for name in candidates}
        self._report = report
        self._factors: dict[str, float] = {}
        self.factors: Mapping[str, float] = MappingProxyType(self._factors)
        """Per candidate that has replied: what to multiply its expected costs by. A live view."""

    def follow(self, candidates: Iterable[str]) -> None:
        """Learn of these too; what was learned of others is kept."""
        for name in candidates:
            self._ratios.setdefault(name, _Ratios())

    def observe(self, record: RequestRecord) -> None:
        """Learn from a complete reply with the provider's own usage.

        Its input always counts. Its output and cost count when they were forecast: a pinned or declined request is
        estimated at a typical length, which says nothing of forecasts.
        """
        ratios = self._ratios.get(record.candidate or "")
        if ratios is None or record.candidate is None or record.outcome != "ok" or record.metered:
            return
        ratios.input.add(record.input_tokens, record.estimated_input_tokens)
        if record.forecast_quality is None or not record.attempts:
            return
        ratios.output.add(record.output_tokens, record.estimated_output_tokens)
        if record.estimated_cost <= 0:  # it is free
            return
        ratios.cost.add(record.attempts[-1].cost, record.estimated_cost)
        self._factors[record.candidate] = min(max(ratios.cost.factor, LEAST_FACTOR), LARGEST_FACTOR)
        self._watch(record.candidate, ratios)

    def ratios(self, of: str) -> dict[str, float]:
        """Billed over estimated per candidate that has replied; `of` is `cost`, `input` or `output`."""
        found = {name: getattr(ratios, of) for name, ratios in self._ratios.items()}
        return {name: fading.ratio for name, fading in found.items() if fading.estimated}

    def drifting(self) -> dict[str, float]:
        """1 per candidate whose bills have left what is estimated, else 0."""
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
        """Take a reply; what was estimated at nothing (free, or empty) has no ratio."""
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
        """The ratio, drawn to 1 while replies are few."""
        prior = PRIOR_REPLIES * self.estimated / self.weight
        return (self.billed + prior) / (self.estimated + prior)


class _Ratios:
    """One candidate's."""

    __slots__ = ("cost", "drifts", "input", "output")

    def __init__(self) -> None:
        self.cost, self.input, self.output = _FadingSums(), _FadingSums(), _FadingSums()
        self.drifts = False
