"""Draw docs/architecture.svg from the imports of the code: `python -m docs.draw_architecture`.

A room is drawn above every room that it imports, so that all arrows point down. An import that follows from others
(a imports b, b imports c, and a imports c too) has no arrow of its own. Uses the standard library only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
OUTSIDE = ("benchmarks", "routers", "models")
ROOMS: Mapping[str, tuple[float, str]] = {
    "benchmarks": (3.95, "scripts that a reader can run"),
    "routers": (3.95, "forecast and learn"),
    "models": (3.95, "encode text and images"),
    "cli": (1.5, "one file a command"),
    "demo": (1.5, "the two demos"),
    "app": (1.5, "wiring, reload, workers"),
    "api": (1.5, "one file an endpoint, parsing"),
    "telemetry": (1.5, "metrics, request log, gauges"),
    "outcomes": (1.5, "decision log, collect, graders"),
    "config": (0.5, "settings, secrets, checks"),
    "pipeline": (1.5, "the life of a request"),
    "stores": (2.5, "memory, SQLite, Redis"),
    "routing": (2.2, "query, decision, pacing"),
    "providers": (1.0, "HTTP to candidates, replay"),
    "tenants": (2.05, "tenants, keys, policy"),
    "images": (0.0, "data URLs, guarded fetch"),
    "billing": (1.5, "money, price, reservation"),
    "errors": (1.0, "one tree of errors"),
}
"""Room -> its column and its purpose in words. The row follows from the imports."""
COLUMN, ROW, WIDTH, HEIGHT, LEFT, TOP = 204, 70, 190, 46, 134, 44
STYLE = """
  text { font: 12px "DejaVu Sans", Verdana, sans-serif; text-anchor: middle; fill: #1f2328; }
  .name { font-weight: bold; font-size: 14px; }
  .words { font-size: 11px; fill: #59636e; }
  .house { fill: #f6f8fa; stroke: #8c959f; stroke-dasharray: 5 4; }
  .room { fill: #ffffff; stroke: #0969da; stroke-width: 1.5; }
  .beside { fill: #fff8e6; stroke: #9a6700; stroke-width: 1.5; }
  .arrow { fill: none; stroke: #6e7781; stroke-width: 1.4; }
  .head { fill: #6e7781; }
  .paper { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .words { fill: #a9b4c0; }
    .house { fill: #151b23; stroke: #656c76; }
    .room { fill: #0d1117; stroke: #58a6ff; }
    .beside { fill: #272115; stroke: #d29922; }
    .arrow { stroke: #9198a1; }
    .head { fill: #9198a1; }
    .paper { fill: #0d1117; }
  }
"""
Edges = Mapping[str, frozenset[str]]


def picture() -> str:
    """Return the picture as SVG. Raises LookupError for a room that `ROOMS` does not describe, or a circle of rooms."""
    imports = imports_of_rooms()
    rows = rows_of(imports)
    height = TOP + (max(rows.values()) + 1) * ROW + 10
    top, bottom = _y(rows, rows["cli"]) - 34, _y(rows, 0) + HEIGHT + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1050 {height}" width="1050" height="{height}">',
        "<title>The rooms of Loupe and what they import</title>",
        f"<style>{STYLE}</style>",
        '<rect class="paper" width="1050" height="100%"/>',
        f'<rect class="house" x="22" y="{top}" width="{3.63 * COLUMN:.0f}" height="{bottom - top}" rx="10"/>',
        f'<text class="name" x="72" y="{top + 24}">gateway/</text>',
        '<text x="200" y="22">An arrow: the upper room imports the lower one.</text>',
    ]
    for room, uses in sorted(reduced(imports).items()):
        parts += [_arrow(rows, room, used) for used in sorted(uses)]
    parts += [_box(rows, room) for room in sorted(rows)]
    return "\n".join([*parts, "</svg>", ""])


def imports_of_rooms() -> Edges:
    """Return the other rooms that each room imports, at the top of its files or inside their functions."""
    found: dict[str, set[str]] = {}
    for top in ("gateway", *OUTSIDE):
        for path in sorted((ROOT / top).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            room = _room(module)
            if room:
                found.setdefault(room, set()).update(_rooms_used(path, module))
    unknown = sorted(set(found) - set(ROOMS))
    if unknown:
        raise LookupError(f"docs/draw_architecture.py: give {', '.join(unknown)} a line in ROOMS")
    return {room: frozenset((uses & set(found)) - {room}) for room, uses in found.items()}


def rows_of(imports: Edges) -> dict[str, int]:
    """Return each room's row: 0 for a room that imports no other, else one more than the highest room it imports."""
    rows: dict[str, int] = {}
    while len(rows) < len(imports):
        ready = [room for room, uses in imports.items() if room not in rows and uses <= set(rows)]
        if not ready:
            raise LookupError(f"rooms import each other in a circle: {', '.join(sorted(set(imports) - set(rows)))}")
        rows.update({room: 1 + max((rows[used] for used in imports[room]), default=-1) for room in ready})
    return rows


def reduced(imports: Edges) -> Edges:
    """Return the imports that do not follow from others (the transitive reduction)."""

    def reached(room: str) -> set[str]:
        return {room}.union(*(reached(used) for used in imports[room]))

    return {
        room: frozenset(u for u in uses if not any(u in reached(other) for other in uses - {u}))
        for room, uses in imports.items()
    }


def _rooms_used(path: Path, module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            here = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*here, *([node.module] if node.module else [])])
            names = [f"{source}.{alias.name}" for alias in node.names]
        for name in names:
            room = _room(name)
            if room:
                yield room


def _room(module: str) -> str | None:
    """Return the room of a module; None for a module that is not drawn, such as the `__init__.py` of `gateway`."""
    top, *rest = module.split(".")
    if top in OUTSIDE:
        return top
    return rest[0] if top == "gateway" and rest and rest[0] != "__init__" else None


def _x(room: str) -> float:
    return LEFT + ROOMS[room][0] * COLUMN


def _y(rows: Mapping[str, int], row: int) -> int:
    """Return the upper edge of a row's boxes, in pixels."""
    return TOP + (max(rows.values()) - row) * ROW


def _box(rows: Mapping[str, int], room: str) -> str:
    x, y, words = _x(room), _y(rows, rows[room]), ROOMS[room][1]
    kind, name = ("beside", f"{room}/") if room in OUTSIDE else ("room", room)
    return (
        f'<rect class="{kind}" x="{x - WIDTH / 2:.0f}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
        f'<text class="name" x="{x:.0f}" y="{y + 20}">{escape(name)}</text>'
        f'<text class="words" x="{x:.0f}" y="{y + 36}">{escape(words)}</text>'
    )


def _arrow(rows: Mapping[str, int], room: str, used: str) -> str:
    """Return a curve from the lower edge of `room` to the upper edge of `used`, slightly apart from other arrows."""
    way = _x(used) - _x(room)
    aside = max(-60.0, min(60.0, way / 5))
    start, end = _x(room) + aside, _x(used) - aside
    top, bottom = _y(rows, rows[room]) + HEIGHT, _y(rows, rows[used]) - 6
    bend = (bottom - top) / 2
    return (
        f'<path class="arrow" d="M{start:.0f} {top}C{start:.0f} {top + bend:.0f} {end:.0f} {bottom - bend:.0f} '
        f'{end:.0f} {bottom}"/><path class="head" d="M{end - 4:.0f} {bottom - 2}h8l-4 8z"/>'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
