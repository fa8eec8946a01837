"""Calibration as gauges and log lines."""

from __future__ import annotations

import logging

import pytest

from gateway.pipeline.record import Attempt
from gateway.telemetry.gauges import watched_calibration
from gateway.telemetry.metrics import Metrics
from tests.fakes.records import record


def test_ratios_are_gauges_of_each_candidate_and_a_drift_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    calibration = watched_calibration(["small", "large"], metrics)
    doubled = record(estimated_cost=500, attempts=(Attempt("small", None, 1_000),), input_tokens=200)
    with caplog.at_level(logging.WARNING, "loupe"):
        for _ in range(250):
            calibration.observe(doubled)
        exposed = metrics.render().decode()
        for _ in range(500):
            calibration.observe(doubled._replace(estimated_cost=1_000))
    lines = exposed.splitlines()
    assert 'loupe_estimate_ratio{candidate="small"} 2.0' in lines
    assert 'loupe_estimate_input_ratio{candidate="small"} 2.0' in lines
    assert 'loupe_estimate_drift{candidate="small"} 1.0' in lines
    assert 'loupe_estimate_drift{candidate="large"} 0.0' in lines
    assert not [line for line in lines if line.startswith('loupe_estimate_ratio{candidate="large"}')]
    assert [entry.getMessage()[:46] for entry in caplog.records] == [
        "small: billed 2.00 times the estimate; its bil",
        "small: billed 1.18 times the estimate again; t",
    ]
