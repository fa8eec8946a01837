"""The report of the loop: as text, and as the JSON that `make loop-demo ARGS="--json FILE"` writes."""

from __future__ import annotations

from typing import Any

from gateway.demo.loop.loop import LoopResult, LoopSettings


def problems(found: LoopResult) -> list[str]:
    """Return the problems of the run; empty when all is well."""
    wrong = []
    if found.tally.dropped:
        wrong.append(f"{found.tally.dropped} of {found.tally.sent} requests were dropped: {dict(found.tally.statuses)}")
    if found.tally.labels_refused:
        wrong.append(f"{found.tally.labels_refused} labels were refused")
    if not found.is_promoted:
        wrong.append("no retrained router was surely better: nothing was promoted")
    if not found.bad_was_refused:
        wrong.append("the router that learned from shuffled labels was promoted")
    before, after = found.frontier["before"], found.frontier["after"]
    if found.is_promoted and after["nauc"] <= before["nauc"]:
        wrong.append("nAUC did not rise")
    if found.is_promoted and _or_infinite(after["qnc"]) > _or_infinite(before["qnc"]):
        wrong.append("QNC did not fall")
    return wrong


def as_json(found: LoopResult, terms: LoopSettings, made: dict[str, Any]) -> dict[str, Any]:
    """Return the report, with the keys of issue 5 first. QNC is null if the best single's score is not reached."""
    before, after = found.frontier["before"], found.frontier["after"]
    return {
        "nauc_before": before["nauc"],
        "nauc_after": after["nauc"],
        "qnc_before": before["qnc"],
        "qnc_after": after["qnc"],
        "cells_before": found.cells_before,
        "cells_after": found.rounds[-1]["cells"] if found.is_promoted else found.cells_before,
        "bad_artifact_refused": found.bad_was_refused,
        "problems": problems(found),
        "table": found.table.name,
        "rows": found.table.rows,
        "candidates": list(found.table.candidates),
        "held_out_queries": found.frontier["held_out_queries"],
        "requests": found.tally.sent,
        "requests_dropped": found.tally.dropped,
        "requests_while_promoting": found.promoted_under,
        "labels": found.tally.labelled,
        "reasons": dict(found.tally.reasons),
        "served": dict(found.tally.served),
        "before": before,
        "after": after,
        "rounds": [{name: each[name] for name in _OF_ROUND} for each in found.rounds],
        "bad": {name: found.bad[name] for name in ("difference", "low", "after")},
        "seed": terms.seed,
        "router": terms.router,
        "explore": terms.explore,
        **made,
    }


_OF_ROUND = ("is_better", "promoted", "difference", "low", "cells", "held_out_queries", "holdout")


def as_text(found: LoopResult) -> str:
    """Return the figures before and after, and the traffic's results."""
    before, after = found.frontier["before"], found.frontier["after"]
    cells = (found.cells_before, found.rounds[-1]["cells"] if found.is_promoted else found.cells_before)
    heads = ("", "before", "after")
    rows = [
        ("nAUC", *(f"{each['nauc']:.4f}" for each in (before, after))),
        ("QNC", *("never" if each["qnc"] is None else f"{each['qnc']:.4f}" for each in (before, after))),
        ("peak score", *(f"{each['peak_score']:.4f}" for each in (before, after))),
        ("log-loss", *(f"{each['log_loss']:.4f}" for each in (before, after))),
        ("cells learned from", *(f"{count:,}" for count in cells)),
    ]
    tally = found.tally
    lines = [f"{row[0]:<20}{row[1]:>12}{row[2]:>12}" for row in (heads, *rows)]
    lines += [
        "",
        f"{tally.sent:,} requests, {tally.dropped} dropped ({found.promoted_under:,} of them while routers were "
        f"retrained and promoted); {tally.labelled:,} labels",
        f"shuffled labels: nAUC {found.bad['after']['nauc']:.4f}, "
        + ("refused" if found.bad_was_refused else "PROMOTED, which must not be"),
    ]
    return "\n".join([*lines, *(f"PROBLEM: {line}" for line in problems(found))])


def _or_infinite(value: float | None) -> float:
    return float("inf") if value is None else value
