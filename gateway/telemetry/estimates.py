"""Calibration, watched: its ratios as gauges, and a line in the log when a drift begins and when it ends."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial

from gateway.pipeline.calibration import DRIFTS_OUTSIDE, Calibration, Drift
from gateway.telemetry.metrics import Metrics

_log = logging.getLogger("loupe")


def watched_calibration(candidates: Iterable[str], metrics: Metrics) -> Calibration:
    """A calibration that nothing has been learned by yet."""
    calibration = Calibration(candidates, _say)
    for name, text, of in (
        ("loupe_estimate_ratio", "Billed cost over estimated, of about the last 100 forecast replies", "cost"),
        ("loupe_estimate_input_ratio", "Billed input tokens over estimated", "input"),
        ("loupe_estimate_output_ratio", "Billed output tokens over forecast", "output"),
    ):
        metrics.watch_each(name, text, partial(calibration.ratios, of))
    least, most = DRIFTS_OUTSIDE
    metrics.watch_each("loupe_estimate_drift", f"1: the ratio has left {least} to {most}", calibration.drifting)
    return calibration


def _say(drift: Drift) -> None:
    if drift.began:
        what = "its bills have drifted from what is estimated: check its prices, image_tokens and tokenizer"
        _log.warning("%s: billed %.2f times the estimate; %s", drift.candidate, drift.ratio, what)
    else:
        _log.warning("%s: billed %.2f times the estimate again; the drift is over", drift.candidate, drift.ratio)
