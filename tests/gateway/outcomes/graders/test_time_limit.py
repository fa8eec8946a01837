"""Work on the main thread that is cut off when its time is over."""

from __future__ import annotations

import re
import signal

import pytest

from gateway.outcomes.graders.base import Reference
from gateway.outcomes.graders.json_schema import JsonSchema
from gateway.outcomes.graders.time_limit import OutOfTime, within


def test_a_search_that_would_take_for_ever_is_cut_off_and_the_handler_before_is_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(OutOfTime), within(0.1):
        re.search("(a+)+b", "a" * 5_000)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0


def test_a_schema_whose_pattern_would_take_for_ever_is_cut_off_too() -> None:
    grader, schema = JsonSchema(), Reference('{"items": {"pattern": "^(a+)+$"}}')
    assert grader.grade('["aa"]', schema).score == 1.0
    with pytest.raises(OutOfTime), within(0.1):
        grader.grade(f'["{"a" * 5_000}b"]', schema)
    assert grader.grade('["ab"]', schema).score == 0.0


def test_what_is_done_in_time_is_left_alone() -> None:
    with within(60.0):
        found = re.search("a+b", "aab")
    assert found is not None
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0
