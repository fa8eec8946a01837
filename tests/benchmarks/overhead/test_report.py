"""The arithmetic of the overhead report."""

from __future__ import annotations

from benchmarks.overhead.gateway import Check
from benchmarks.overhead.report import Cell, markdown, percentile, summarise


def test_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]

    assert percentile(values, 50) == 51
    assert percentile(values, 99) == 100
    assert percentile([3.0], 99) == 3.0


def test_added_latency_and_ratio_are_taken_within_a_round() -> None:
    rows = summarise(
        [
            _cell(0, "direct", 1_000, 1.0),
            _cell(0, "loupe", 600, 2.0),
            _cell(0, "fastapi_httpx", 100, 9.0),
            _cell(1, "direct", 500, 2.0),  # the whole machine is half as fast in this round
            _cell(1, "loupe", 300, 4.0),
            _cell(1, "fastapi_httpx", 50, 18.0),
        ]
    )

    loupe = next(row for row in rows if row.subject == "loupe")
    assert loupe.times_peer is not None
    assert loupe.times_peer.least == loupe.times_peer.greatest == 6
    assert loupe.times_peer_cpu is not None
    assert loupe.times_peer_cpu.median == 1
    assert loupe.added_p50_ms is not None
    assert (loupe.added_p50_ms.least, loupe.added_p50_ms.median, loupe.added_p50_ms.greatest) == (1, 1.5, 2)


def test_subject_without_its_pair_shows_none() -> None:
    (row,) = summarise([_cell(0, "loupe", 600, 2.0)])

    assert row.times_peer is None
    assert row.added_p50_ms is None


def test_report_says_when_the_audit_disagrees() -> None:
    rows = summarise([_cell(0, "loupe", 600, 2.0)])
    agrees, disagrees = Check("log lines", 600, 600), Check("outcome rows", 599, 600)

    report = markdown({"seed": 1}, rows, [agrees, disagrees])

    assert "* log lines: 600 (agrees)" in report
    assert "* outcome rows: 599 (**DISAGREES**, 600 expected)" in report


def _cell(round_number: int, subject: str, per_second: float, p50_ms: float) -> Cell:
    gateway = subject != "direct"
    return Cell(
        round=round_number,
        subject=subject,
        kind="text",
        connections=16,
        requests=100,
        per_second=per_second,
        p50_ms=p50_ms,
        p99_ms=2 * p50_ms,
        first_byte_p50_ms=p50_ms,
        cpu_us=300 if gateway else None,
        others_share=0.0 if gateway else None,
    )
