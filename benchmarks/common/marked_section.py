"""A benchmark's own part of a page: the text between its two marks is replaced, the rest of the page is kept."""

from __future__ import annotations

from pathlib import Path


def renew(page: Path, name: str, text: str) -> None:
    """Write `text` between `<!-- name: begin -->` and `<!-- name: end -->`, or at the end of a page without marks."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    whole = page.read_text(encoding="utf-8") if page.exists() else ""
    before, found, rest = whole.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        before, after = whole + ("\n" if whole else ""), "\n"
    page.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", encoding="utf-8")
