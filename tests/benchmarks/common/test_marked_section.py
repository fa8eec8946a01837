"""A benchmark renews its own part of a page and nothing else."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common.marked_section import renew


def test_what_stands_between_the_marks_is_renewed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter\n<!-- b: begin -->\nkept\n<!-- b: end -->\n"
    )
    renew(page, "a", "new\n\n")
    assert page.read_text() == (
        "before\n<!-- a: begin -->\nnew\n<!-- a: end -->\nafter\n<!-- b: begin -->\nkept\n<!-- b: end -->\n"
    )


def test_a_page_without_marks_gets_them_at_its_end(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n")
    renew(page, "a", "new")
    renew(page, "a", "newer")
    assert page.read_text() == "before\n\n<!-- a: begin -->\nnewer\n<!-- a: end -->\n"
    renew(tmp_path / "none.md", "a", "new")
    assert (tmp_path / "none.md").read_text() == "<!-- a: begin -->\nnew\n<!-- a: end -->\n"
