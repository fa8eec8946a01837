"""The reports of `loupe collect`: the manifest next to the table, and the lines at the start and end of a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gateway.billing.money import to_usd
from gateway.outcomes.collect.collector import CollectTally
from gateway.outcomes.collect.job import Job, Remains
from gateway.outcomes.collect.journal import JournalState
from gateway.outcomes.collect.spending_limit import SpendingLimit
from gateway.routing.catalog import Candidate


def manifest_of(job: Job, kept: JournalState, remains: Remains, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return how the table was made: what was asked of which candidate, at which prices, and the
    outcome of every cell.
    """
    rows, dataset = len(job.rows), job.dataset
    cells = {(row.id, candidate.name) for row in job.rows for candidate in job.candidates}
    answered, refused = cells & kept.answers.keys(), cells & kept.refused.keys()
    under_way = sum(hold for _, hold in kept.holds.values())  # requests cut off by a second ^C
    return {
        "loupe": version("loupe-gateway"),
        "complete": len(answered) + len(refused) + len(remains.unfit) == len(cells),
        "dataset": {
            "name": dataset.name,
            "sha256": dataset.sha256,
            "rows": len(dataset.rows),
            "bad_rows": len(dataset.bad),
            "asked_rows": rows,
            "row_probability": rows / len(dataset.rows),
            "seed": arguments.seed,
        },
        "instruction": job.manner.instruction,
        "max_tokens": job.manner.max_tokens,
        "cells": {
            "all": len(cells),
            "answered": len(answered),
            "refused": len(refused),
            "unfit": len(remains.unfit),
            "left": len(cells) - len(answered) - len(refused) - len(remains.unfit),
        },
        "asks": {"sent": kept.asks, **kept.ends},
        "spend": {
            "budget_usd": to_usd(arguments.budget),
            "billed_usd": to_usd(kept.spent),
            "unknown_at_most_usd": to_usd(kept.uncertain + under_way),
        },
        "candidates": {candidate.name: _described(candidate, kept) for candidate in job.candidates},
    }


def _described(candidate: Candidate, kept: JournalState) -> dict[str, Any]:
    answers = [answer for (_, name), answer in kept.answers.items() if name == candidate.name]
    refused = [reason for (_, name), reason in kept.refused.items() if name == candidate.name]
    return {
        "provider": candidate.provider,
        "provider_model": candidate.provider_model,
        "prices": candidate.prices,
        "input_usd_per_mtok": to_usd(candidate.price.input_per_million),
        "output_usd_per_mtok": to_usd(candidate.price.output_per_million),
        "answered": len(answers),
        "refused": {reason: refused.count(reason) for reason in sorted(set(refused))},
        "cut_at_limit": sum(answer.finish_reason == "length" for answer in answers),
        "metered_by_us": sum(answer.metered for answer in answers),
        "input_tokens": sum(answer.input_tokens for answer in answers),
        "output_tokens": sum(answer.output_tokens for answer in answers),
        "billed_usd": to_usd(sum(answer.cost for answer in answers)),
    }


def say_plan(job: Job, remains: Remains, spending: SpendingLimit) -> None:
    expected = sum(each.choice.expected_cost for each in remains.work)
    most = sum(each.choice.max_cost for each in remains.work)
    print(
        f"{len(job.rows):,} rows x {len(job.candidates)} candidates: {len(remains.work):,} cells to ask, "
        f"{len(remains.unfit):,} that a candidate cannot serve; about {to_usd(expected)} USD, {to_usd(most)} at the "
        f"very most; {to_usd(max(spending.left, 0))} of {to_usd(spending.limit)} USD may be spent",
        flush=True,
    )


def say_end(folder: Path, manifest: Mapping[str, Any], tally: CollectTally) -> None:
    cells, spend = manifest["cells"], manifest["spend"]
    table = manifest["table"]
    candidates = len(manifest["candidates"])
    print(f"wrote {folder}: {table['queries']:,} queries, {candidates} candidates, {table['cells']:,} cells")
    unknown = spend["unknown_at_most_usd"]
    lost = "" if unknown == "0" else f", and at most {unknown} more for replies that were lost"
    print(f"billed {spend['billed_usd']} USD of {spend['budget_usd']}{lost}")
    for name, why in tally.closed.items():
        print(f"loupe collect: {name} was asked no more: {why}", file=sys.stderr)
    if tally.over_ceiling:
        print(
            f"loupe collect: {tally.over_ceiling} replies cost more than their limits allow: "
            "check image_tokens, tokenizer and prices",
            file=sys.stderr,
        )
    if table["ungraded"]:
        print(f"loupe collect: {table['ungraded']} answers took a grader too long: left ungraded", file=sys.stderr)
    if cells["left"]:
        why = "stopped" if tally.stopped else "some failed"
        if tally.out_of_budget is not None:
            why = f"the next may cost {to_usd(tally.out_of_budget)} USD, which the budget has no more; see --max-tokens"
        failures = ", ".join(f"{reason} {count}" for reason, count in sorted(tally.failures.items()))
        print(
            f"loupe collect: {cells['left']:,} of {cells['all']:,} cells are left ({why}"
            f"{'; ' + failures if failures else ''}): the same command goes on",
            file=sys.stderr,
        )
