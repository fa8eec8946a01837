"""Writes the dashboards: `python deploy/grafana/build.py`. What they show is said in `spend_accuracy.py`, `budgets.py`
and `health.py`, how in here.

Made for Grafana 11.1 and newer: its XY chart takes matchers, and panels that do not say their version are migrated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from budgets import BUDGETS
from health import HEALTH
from panel import Board, Panel, Query, Row
from spend_accuracy import SPEND_ACCURACY

DATASOURCE = {"type": "prometheus", "uid": "loupe-prometheus"}
PLUGIN_VERSION = "11.6.0"
SCHEMA_VERSION = 41
COLUMNS = 24
DASHBOARDS = (SPEND_ACCURACY, BUDGETS, HEALTH)
Json = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one file a dashboard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "dashboards", metavar="DIR")
    out: Path = parser.parse_args(arguments).out
    for board in DASHBOARDS:
        text = json.dumps(dashboard(board), indent=1, ensure_ascii=False) + "\n"
        (out / f"{board.uid}.json").write_text(text, encoding="utf-8")


def dashboard(board: Board) -> Json:
    """A dashboard as Grafana reads it from a file."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.text,
        "tags": ["loupe"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "annotations": {"list": []},
        "links": [{"type": "dashboards", "tags": ["loupe"], "title": "Loupe", "asDropdown": False, "keepTime": True}],
        "templating": {"list": [_variable(*variable) for variable in board.variables]},
        "panels": _laid_out(board.rows),
    }


def _variable(name: str, query: str, several: bool) -> Json:
    """One to choose from; `several` may be chosen together, at first all."""
    chosen = {"text": "All", "value": "$__all"} if several else {"text": "all", "value": "all"}
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
        "allValue": ".*" if several else None,
        "current": chosen,
        "options": [],
        "hide": 0,
    }


def _laid_out(rows: Sequence[Row]) -> list[Json]:
    """Panels from left to right; one that does not fit begins a new line."""
    found: list[Json] = []
    top = 0
    for row in rows:
        heading = {"type": "row", "title": row.title, "collapsed": False, "panels": []}
        found.append({"id": len(found) + 1, **heading, "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}})
        top += 1
        left = height = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            found.append({"id": len(found) + 1, **_panel(panel), "gridPos": place})
            left, height = left + panel.width, max(height, panel.height)
        top += height
    return found


def _panel(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "color": {"mode": panel.color}, "noValue": panel.no_value}
    for bound in ("min", "max", "decimals"):
        if (value := getattr(panel, bound)) is not None:
            defaults[bound] = value
    made: Json = {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "pluginVersion": PLUGIN_VERSION,
        "datasource": DATASOURCE,
        "targets": [_target(query, chr(ord("A") + place), panel) for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }
    return {**made, **_OF_KIND[panel.kind](panel, made)}


def _target(query: Query, ref: str, panel: Panel) -> Json:
    instant = panel.kind in ("stat", "bargauge", "table", "xychart")
    return {
        "refId": ref,
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
        "instant": instant,
        "range": not instant,
        "format": "table" if panel.kind in ("table", "xychart") else "time_series",
        "editorMode": "code",
    }


def _timeseries(panel: Panel, made: Json) -> Json:
    made["fieldConfig"]["defaults"]["custom"] = {
        "drawStyle": "line",
        "lineWidth": 2,
        "fillOpacity": 60 if panel.stacked else 0,
        "showPoints": "never",
        "spanNulls": 120_000,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "axisLabel": panel.axis,
        "scaleDistribution": {"type": "log", "log": 10} if panel.log else {"type": "linear"},
    }
    legend = {"showLegend": True, "displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "mean"]}
    return {"options": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}}


def _stat(_: Panel, __: Json) -> Json:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return {"options": {"reduceOptions": reduce, "colorMode": "value", "graphMode": "none", "textMode": "auto"}}


def _bargauge(_: Panel, __: Json) -> Json:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    return {"options": {"reduceOptions": reduce, "orientation": "horizontal", "displayMode": "gradient"}}


def _table(_: Panel, __: Json) -> Json:
    hidden = {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": {}, "indexByName": {}}}
    return {"options": {"showHeader": True, "cellHeight": "sm"}, "transformations": [hidden]}


def _xychart(panel: Panel, made: Json) -> Json:
    """Two queries joined by the label that names a point: the first is x, the second y."""
    x, y = (query.legend for query in panel.queries)
    made["fieldConfig"]["defaults"]["custom"] = {"show": "points", "pointSize": {"fixed": 12}, "axisPlacement": "auto"}
    made["fieldConfig"]["overrides"] = [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "unit", "value": unit}, {"id": "custom.axisLabel", "value": name}],
        }
        for name, unit in ((x, panel.x_unit), (y, panel.unit))
    ]
    times = dict.fromkeys(("Time", "Time 1", "Time 2"), True)
    columns = {"Value #A": x, "Value #B": y}
    series = {key: {"matcher": {"id": "byName", "options": name}} for key, name in (("x", x), ("y", y))}
    return {
        "options": {
            "mapping": "manual",
            "series": [{**series, "name": {"fixed": panel.title}}],
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        "transformations": [
            {"id": "joinByField", "options": {"byField": "point", "mode": "inner"}},
            {"id": "organize", "options": {"excludeByName": times, "renameByName": columns, "indexByName": {}}},
        ],
    }


_OF_KIND = {"timeseries": _timeseries, "stat": _stat, "bargauge": _bargauge, "table": _table, "xychart": _xychart}

if __name__ == "__main__":
    main()
