"""The results of `loupe bench` as one HTML page that needs no other file: inline drawings, tables, how it was made."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from routers.evaluation.bench import Stage
from routers.evaluation.reports.plots import frontier_svg
from routers.evaluation.reports.text import HEADINGS, Row, notes, ranked, shown, times

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
svg { width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid #e3e3e3; white-space: nowrap; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
tr.shipped td { background: #eef5fb; font-weight: 600; }
dt { font-weight: 600; } dd { margin: 0 0 0.4rem 0; }
.small { color: #555; font-size: 0.85rem; }
"""

_EXPLAINED = (
    "nAUC: area under the score that each cost buys, over the cost range, 0 to 1, with the 95% interval of a "
    "bootstrap over groups of test rows. P_s: the highest score. QNC: the least cost that reaches the best single "
    "candidate, over that candidate's cost; inf (60%: 0.5) is reached in 60% of the seeds, there at 0.5. Accuracy: the "
    "score where cost does not count. Log-loss and ECE: of the forecast scores. ± is the standard deviation over "
    "seeds. Circles are the candidates used alone."
)


def as_page(found: Sequence[Row], blocks: Sequence[Stage], facts: Mapping[str, str]) -> str:
    """Return the page; `facts` say how it was made (command, versions, seeds)."""
    sections = "".join(_section(found, block) for block in blocks)
    made = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts.items())
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Loupe: routers on held-out queries</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>Routers on held-out queries</h1>\n<p class="small">{html.escape(_EXPLAINED)}</p>\n'
        f"{sections}<h2>How this was made</h2>\n<dl>{made}</dl>\n</body>\n</html>\n"
    )


def _section(found: Sequence[Row], block: Stage) -> str:
    heads = "".join(
        f"<th>{html.escape(head)}</th>" for head in ("router", "view", *HEADINGS.values(), "fit s", "µs/query")
    )
    lines = "".join(_line(row) for row in ranked(found, block.name))
    said = [(row.router, note) for row in found if row.table == block.name and row.problem for note in notes(row)]
    problems = "".join(f"<li>{html.escape(f'{router}: {note}')}</li>" for router, note in said)
    learned = "" if block.learned_from == (block.name,) else f", learned from {', '.join(block.learned_from)}"
    return (
        f"<h2>{html.escape(block.name + learned)}</h2>\n{frontier_svg(found, block)}\n"
        f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}</tbody>\n</table></div>\n'
        + (f'<ul class="small">{problems}</ul>\n' if problems else "")
    )


def _line(row: Row) -> str:
    cells = [row.router, row.view, *(shown(row, name) for name in HEADINGS), *times(row)]
    marked = ' class="shipped"' if row.is_default else ""
    return f"<tr{marked}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>\n"
