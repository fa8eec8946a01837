"""The report as text for a terminal, and as JSON."""

from __future__ import annotations

from typing import Any

from gateway.billing.money import NANODOLLARS
from gateway.demo.report import DemoReport, ReportPart

SIMULATED = """\
The candidates are SIMULATED: `loupe replay` answers for them, no model is behind it. Who is right is
drawn with each one's real mean score on the nearest subject of two public outcome tables, shifted by
the task's difficulty; tokens are drawn, prices are list prices. The images are drawn here. The
encoder, the router, the gateway, its ledger and the client are the real ones."""


def as_text(report: DemoReport, seed: int) -> str:
    """Return the whole report, about 40 lines."""
    refused = sum(refusal.count for refusal in report.refusals)
    lines = [
        "",
        f"{report.requests} requests: {report.routed.requests} answered, {refused} refused (seed {seed})",
        "",
        f"{'candidate':<20}{'requests':>9}{'share':>8}{'spend USD':>12}{'score':>8}",
        "-" * 57,
    ]
    for part in report.served:
        share = part.requests / max(1, report.routed.requests)
        score = f"{part.score:.3f}" if part.requests else "-"
        lines.append(f"{part.candidate:<20}{part.requests:>9}{share:>8.1%}{_usd(part):>12.5f}{score:>8}")
    lines += ["", f"{'on the same answered queries':<37}{'spend USD':>12}{'score':>8}", "-" * 57]
    for label, part in (
        ("routed", report.routed),
        ("one at random", report.uniform),
        (f"cheapest single: {report.cheapest.candidate}", report.cheapest),
        (f"best single: {report.best.candidate}", report.best),
        (f"dearest single: {report.dearest.candidate}", report.dearest),
    ):
        lines.append(f"{label:<37}{_usd(part):>12.5f}{part.score:>8.3f}")
    lines += ["", *_verdict(report), "", *_refused(report)]
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(report.reasons.items()))
    lines += [
        f"X-Route-Reason of the answered: {reasons}",
        f"Loupe's own time per answered request: p50 {report.overhead_p50:.1f} ms, p99 {report.overhead_p99:.1f} ms",
        f"(every image is new; without encoding: p50 {report.beside_encoding_p50:.1f} ms)",
        "",
        SIMULATED,
    ]
    if report.problems:
        lines += ["", "NOT as it must be:", *(f"  * {problem}" for problem in report.problems)]
    else:
        lines += ["", "Ledger: spend, charges and the pool's own bill agree to the nanodollar; nothing is held."]
    return "\n".join(lines)


def as_json(report: DemoReport, seed: int, command: str, versions: dict[str, str]) -> dict[str, Any]:
    """Return the report as plain values; scores 0 to 1, money in USD, times in milliseconds."""
    return {
        "command": command,
        "seed": seed,
        "versions": versions,
        "simulated": SIMULATED,
        "requests": report.requests,
        "ok": report.routed.requests,
        "refused": sum(refusal.count for refusal in report.refusals),
        "spend_usd": _usd(report.routed),
        "routed_score": report.routed.score,
        "best_single": report.best.score,
        "cheapest_single": report.cheapest.score,
        "dearest_single": report.dearest.score,
        "per_candidate": {
            part.candidate: {
                "requests": part.requests,
                "share": part.requests / max(1, report.routed.requests),
                "spend_usd": _usd(part),
                "score": part.score if part.requests else None,
            }
            for part in report.served
        },
        "overhead_ms_p50": report.overhead_p50,
        "overhead_ms_p99": report.overhead_p99,
        "overhead_ms_p50_without_encoding": report.beside_encoding_p50,
        "singles": {
            "best": _single(report.best),
            "cheapest": _single(report.cheapest),
            "dearest": _single(report.dearest),
            "uniform": _single(report.uniform),
            "all": [_single(part) for part in report.singles],
        },
        "refusals": [
            {"status": r.status, "code": r.code, "count": r.count, "example": r.example} for r in report.refusals
        ],
        "reasons": dict(report.reasons),
        "problems": list(report.problems),
    }


def _verdict(report: DemoReport) -> list[str]:
    """Compare routing with the best single candidate, whatever the result."""
    best, routed = report.best, report.routed
    if not best.spend or not routed.spend:
        return []
    share = routed.spend / best.spend
    points = 100 * (routed.score - best.score)
    return [f"Routed scored {points:+.1f} points against {best.candidate} alone, at {share:.0%} of its spend."]


def _refused(report: DemoReport) -> list[str]:
    lines = []
    for refusal in report.refusals:
        lines.append(f"Refused {refusal.count} x {refusal.status} {refusal.code or ''}, for example:")
        lines.append(f"  {refusal.example[:240]}")
    return [*lines, ""] if lines else []


def _single(part: ReportPart) -> dict[str, Any]:
    return {"candidate": part.candidate, "score": part.score, "spend_usd": _usd(part)}


def _usd(part: ReportPart) -> float:
    return part.spend / NANODOLLARS
