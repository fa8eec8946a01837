"""The committed dashboards as the tests read them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
BOARDS: Mapping[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
METRIC = re.compile(r"\b(loupe_\w+|up)\b")


def panels(board: str) -> list[dict[str, Any]]:
    """All that show something: without the headings of rows."""
    return [panel for panel in BOARDS[board]["panels"] if panel["type"] != "row"]


def targets() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every query: its dashboard, its panel and itself."""
    for board in BOARDS:
        for panel in panels(board):
            for target in panel["targets"]:
                yield board, panel, target
