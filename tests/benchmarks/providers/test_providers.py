"""The pool of unlike providers: what one of them can serve is served, and the money is right to the nanodollar."""

from __future__ import annotations

import pytest

from benchmarks.providers.__main__ import run
from benchmarks.providers.report import report

pytestmark = pytest.mark.slow


def test_a_short_run_serves_nearly_all_and_charges_what_the_pool_bills() -> None:
    found = report(run(160, 16, 7, 120.0))
    assert found["requests"] == 160
    assert found["refused although one could serve"] <= 2, "transient faults may have left nobody"
    assert found["charged with usage, nanodollars"] == found["billed with usage, nanodollars"] > 0
    assert found["requests charged otherwise than billed"] == 0
    assert (found["requests over their cap"], found["held at the end, nanodollars"]) == (0, 0)
    assert abs(found["charged over billed without usage"]) <= 0.5, "a handful of short replies; 0.6% of the long run"
