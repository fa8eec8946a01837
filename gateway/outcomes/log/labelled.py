"""Labelled requests in the decision log, read for the comparison: read only, and no rows without a log."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.billing.money import NANODOLLARS
from gateway.outcomes.comparison import LabelledRow
from gateway.outcomes.log.rows import CANDIDATE_FIELDS, candidates_of

BUSY_S = 5.0
NAME, QUALITY, EXPECTED_COST, DROPPED = map(
    CANDIDATE_FIELDS.index, ("candidate", "quality", "expected_cost_nanousd", "dropped")
)
"""Positions in an entry of the column `candidates`, which is packed (msgpack)."""
_NEWEST = """
SELECT d.tenant, d.candidate, l.score, d.cost_nanousd, d.propensity, l.probability, d.candidates, max(l.labelled_at)
FROM decisions d JOIN labels l ON l.request_id = d.request_id
WHERE d.started_at > ? AND d.decided IN ('drawn', 'determined') AND d.propensity > 0 AND d.candidate IS NOT NULL
GROUP BY d.request_id ORDER BY d.started_at DESC LIMIT ?
"""
"""The last label of each request counts."""


class LabelledLog:
    """Implements `LabelledRows` over the log's file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def labelled_rows(self, since: float, limit: int) -> Sequence[LabelledRow]:
        """Return the newest labelled rows. Raises sqlite3.Error for a file that is not a log."""
        if not self._path.is_file():
            return []
        db = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        try:
            found = db.execute(_NEWEST, (since, limit)).fetchall()
        finally:
            db.close()
        return [
            LabelledRow(tenant, candidate, score, cost / NANODOLLARS, propensity, probability, _forecasts(candidates))
            for tenant, candidate, score, cost, propensity, probability, candidates, _ in found
        ]


def _forecasts(candidates: bytes) -> Mapping[str, tuple[float, float]]:
    return {
        row[NAME]: (row[QUALITY], row[EXPECTED_COST] / NANODOLLARS)
        for row in candidates_of(candidates)
        if row[DROPPED] is None and row[QUALITY] is not None
    }
