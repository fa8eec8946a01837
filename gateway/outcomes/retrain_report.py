"""The report of `loupe retrain`: for the terminal, as Markdown, HTML with drawings, and JSON."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError
from routers.artifact_store import ID_LENGTH
from routers.evaluation.comparison import RouterComparison
from routers.evaluation.reports.text import Row, as_json, as_markdown, as_text, finite, rows
from routers.evaluation.reports.versions import in_words, package_versions
from routers.registry import FIT_BY_WEIGHTS
from routers.retrain import IN_SERVICE, OFFERED, RETRAINED, Contender, RetrainResult


@dataclass(slots=True)
class RetrainReport:
    """The report of one run.

    Attributes:
        algorithm: the algorithm that was trained.
        cells: the number of outcomes.
        digest: the digest of the written router; empty if none was written.
    """

    algorithm: str
    cells: int
    rival: Contender
    found: RetrainResult
    digest: str = ""
    promoted: bool = False

    @property
    def contest(self) -> RouterComparison:
        return self.found.contest

    @property
    def challenger(self) -> str:
        """The name of the new router in the contest."""
        return self.contest.judged[-1].policy

    def verdict(self) -> str:
        """Return the verdict in one line."""
        contest = self.contest
        before, after = (contest.figure(rival, "nauc") for rival in (IN_SERVICE, self.challenger))
        return (
            f"nAUC {before:.4f} in service, {after:.4f} {self.challenger}: {contest.difference:+.4f}, "
            f"at a level of {contest.rules.level:.0%} at least {contest.low:+.4f}"
        )


def print_report(told: RetrainReport, took_s: float) -> None:
    """Print the tables, the verdict, and what to know about both."""
    found = rows(told.contest.arenas, told.contest.judged)
    print(told.found.holdout.said)
    for line in cautions(told):
        print(f"note: {line}")
    for arena in told.contest.arenas:
        print(f"\n{arena.name}, held out\n{as_text(found, arena.name)}")
    print(f"\n{told.verdict()} ({took_s:.0f} s)")


def write_reports(told: RetrainReport, folder: Path | None, json_file: Path | None) -> None:
    """Write the reports. Raises ConfigError if a file cannot be written."""
    found = rows(told.contest.arenas, told.contest.judged)
    try:
        if folder is not None:
            _write_folder(told, found, folder)
        if json_file is not None:
            json_file.write_text(json.dumps(as_object(told), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror or error}") from error


def cautions(told: RetrainReport) -> list[str]:
    """Return what a reader should know before trusting the figures."""
    found = []
    if told.rival.prints is None:
        found.append("the router in service does not say what it learned from: it may know the held-out queries")
    if told.found.holdout.leaked:
        found.append("too few queries are new to the router in service: its figures look better than they are")
    if told.challenger == RETRAINED and told.algorithm not in FIT_BY_WEIGHTS:
        found.append(f"{told.algorithm} takes all cells alike, whatever they weigh")
    return found


def as_object(told: RetrainReport) -> dict[str, Any]:
    """Return the whole run as a JSON object; non-finite numbers become null."""
    contest = told.contest
    figures = {
        when: {name: finite(contest.figure(rival, name)) for name in ("nauc", "peak_score", "qnc", "log_loss")}
        for when, rival in (("before", IN_SERVICE), ("after", told.challenger))
    }
    return {
        "in_service": told.rival.router.digest,
        "digest": told.digest or None,
        "is_better": contest.is_better,
        "promoted": told.promoted,
        "difference": finite(contest.difference),
        "low": finite(contest.low),
        "level": contest.rules.level,
        "margin": contest.rules.margin,
        "cells": told.cells,
        "held_out_queries": sum(contest.sizes),
        "held_out_cells": contest.cells,
        **figures,
        "holdout": told.found.holdout.said,
        "notes": cautions(told),
        "command": facts(told)["command"],
        "versions": package_versions(),
        "results": as_json(rows(contest.arenas, contest.judged)),
    }


def facts(told: RetrainReport) -> Mapping[str, str]:
    """Return how the run was made, for a page."""
    contest = told.contest
    said = {
        "command": shlex.join(["loupe", *sys.argv[1:]]),
        "verdict": ("better: " if contest.is_better else "not surely better: ") + told.verdict(),
        "in service": told.rival.router.digest[:ID_LENGTH],
        told.challenger: told.digest[:ID_LENGTH] or "not kept",
        "router": "as it was offered" if told.challenger == OFFERED else told.algorithm,
        "judged": told.found.holdout.said,
        "bootstrap": f"{contest.rules.replicates} draws of whole groups, the same for both",
        "versions": in_words(package_versions()),
    }
    return said | {f"note {number}": line for number, line in enumerate(cautions(told), start=1)}


def _write_folder(told: RetrainReport, found: list[Row], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    plots, page = (
        import_module("routers.evaluation.reports.plots"),
        import_module("routers.evaluation.reports.html"),
    )  # matplotlib: heavy, and an extra
    for arena in told.contest.arenas:
        (folder / f"frontier-{arena.name}.png").write_bytes(plots.frontier_png(found, arena))
    (folder / "report.html").write_text(page.as_page(found, told.contest.arenas, facts(told)), encoding="utf-8")
    lines = [f"**{told.verdict()}**", ""]
    for arena in told.contest.arenas:
        lines += [f"## {arena.name}", "", as_markdown(found, arena.name), "", f"![](frontier-{arena.name}.png)", ""]
    lines += [f"* {name}: {text}" for name, text in facts(told).items()]
    (folder / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {folder / 'report.html'}, report.md and {len(told.contest.arenas)} PNG file(s)")
