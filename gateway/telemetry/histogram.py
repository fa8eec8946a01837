"""Counts per bucket, filled in batches: to sort a hundred durations and split them is cheaper than
to place each one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping

from gateway.telemetry.exposition import Family, Labels, Values

SECONDS = (
    *(0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
"""Bucket bounds of all durations: parsing takes tens of microseconds, a long reply a minute."""


class Histogram:
    """A histogram of durations in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.sum = 0.0

    @property
    def values(self) -> Values:
        """The values in the order of a family's sample."""
        return (*map(float, self.counts), self.sum)

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds

    def observe_all(self, seconds: list[float]) -> None:
        """Observe all durations of the list, and leave the list sorted."""
        seconds.sort()
        counts, below = self.counts, 0
        for place, bound in enumerate(SECONDS):
            if below == len(seconds):
                break
            upto = bisect_right(seconds, bound, below)
            counts[place] += upto - below
            below = upto
        counts[-1] += len(seconds) - below
        self.sum += sum(seconds)


def durations(name: str, text: str, labels: Labels, histograms: Mapping[Labels, Histogram]) -> Family:
    """Return a family of histograms."""
    samples = tuple((key, histogram.values) for key, histogram in histograms.items())
    return Family(name, "histogram", text, labels, samples, bounds=SECONDS)


def sizes(name: str, text: str, bounds: Values, counts: Mapping[int, int]) -> Family:
    """Return a histogram of counts by size."""
    cells = [0.0] * (len(bounds) + 1)
    for size, count in counts.items():
        cells[bisect_left(bounds, size)] += count
    total = float(sum(size * count for size, count in counts.items()))
    return Family(name, "histogram", text, (), (((), (*cells, total)),), bounds=bounds)
