"""The job of `loupe collect`: the configuration, the rows, and the cells that are left to ask."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.config.checked import MEBIBYTE, CheckedConfig
from gateway.config.settings import Settings, load_config
from gateway.errors import ConfigError
from gateway.images.data_url import ImageLimits
from gateway.outcomes.collect.collector import CollectSettings, Work
from gateway.outcomes.collect.dataset import Dataset, ReadingSettings, Row, read_dataset
from gateway.outcomes.collect.journal import Cell, JournalState
from gateway.outcomes.collect.request import Manner, assess, form_of, query_of
from gateway.outcomes.graders.base import BadReference
from gateway.outcomes.graders.registry import AUTO, grader_named
from gateway.routing.catalog import Candidate

SHOWN_BAD_ROWS = 20


@dataclass(frozen=True, slots=True)
class Job:
    """The job of a run, before anything is sent."""

    plan: CheckedConfig
    dataset: Dataset
    rows: Sequence[Row]
    """The rows to ask about, in the order of asking."""
    candidates: Sequence[Candidate]
    manner: Manner
    terms: CollectSettings


@dataclass(frozen=True, slots=True)
class Remains:
    """The remaining work: cells to ask, and cells that a candidate cannot serve, with the reason."""

    work: Sequence[Work]
    unfit: Mapping[Cell, str]


def job_of(arguments: argparse.Namespace) -> Job:
    settings = _narrowed(load_config(arguments.config), arguments.candidates)
    plan = CheckedConfig.of(settings)
    limits = ImageLimits(int(settings.images.max_mb * MEBIBYTE), settings.images.max_pixels)
    try:
        if arguments.grader != AUTO:
            grader_named(arguments.grader)
    except BadReference as error:
        raise ConfigError(f"--grader: {error}") from None
    reading = ReadingSettings(arguments.images or arguments.dataset.parent, limits, arguments.grader)
    dataset = read_dataset(arguments.dataset, reading, _say_checked)
    _say_bad(dataset, skip=arguments.skip_bad_rows)
    rows = list(dataset.rows)
    random.Random(arguments.seed).shuffle(rows)  # noqa: S311 - the order of rows is not for security
    return Job(
        plan=plan,
        dataset=dataset,
        rows=rows[: arguments.limit],
        candidates=tuple(plan.catalog),
        manner=Manner(arguments.instruction, arguments.max_tokens),
        terms=CollectSettings(
            arguments.concurrency, arguments.per_candidate, arguments.tries, arguments.retry_s, arguments.seed
        ),
    )


def _narrowed(settings: Settings, names: Sequence[str]) -> Settings:
    """Return the configuration with only these candidates: no other provider's key is needed. Raises ConfigError."""
    known = {section.name: section for section in settings.candidates}
    for name in names:
        if name not in known:
            raise ConfigError(f"--candidates: unknown candidate {name!r}; known: {', '.join(known)}")
    chosen = tuple(known[name] for name in names)
    providers = {section.provider: settings.providers[section.provider] for section in chosen}
    return settings.model_copy(update={"candidates": chosen, "providers": providers, "tenants": ()})


def _say_bad(dataset: Dataset, *, skip: bool) -> None:
    if not dataset.bad:
        return
    shown = [f"row {bad.number}: {bad.why}" for bad in dataset.bad[:SHOWN_BAD_ROWS]]
    more = len(dataset.bad) - len(shown)
    shown += [f"and {more} more"] if more else []
    lines = "\n  ".join([f"{dataset.name}: {len(dataset.bad)} bad row(s)", *shown])
    if not skip:
        raise ConfigError(f"{lines}\n  nothing was asked; --skip-bad-rows goes on without them")
    print(f"loupe collect: {lines}", file=sys.stderr)
    if not dataset.rows:
        raise ConfigError(f"{dataset.name}: no row is left to ask")


def remains_of(job: Job, kept: JournalState, arguments: argparse.Namespace) -> Remains:
    """Return the remaining work. Raises ConfigError for a cell that was asked something else before."""
    work, unfit = [], {}
    for row in job.rows:
        query = query_of(row, job.manner)
        for candidate in job.candidates:
            each = Work(row, query, assess(query, candidate))
            asked = kept.forms.get(each.cell)
            if asked is not None and asked != form_of(row, each.choice, job.manner):
                raise ConfigError(
                    f"{arguments.out}: {candidate.name} was asked something else of query {row.id!r} before (its "
                    "question, image, provider_model, --instruction or --max-tokens was another): use another --out"
                )
            if each.cell in kept.answers or (each.cell in kept.refused and not arguments.refused_again):
                continue
            if each.choice.dropped is not None:
                unfit[each.cell] = each.choice.dropped
            else:
                work.append(each)
    return Remains(work, unfit)


def _say_checked(done: int, total: int) -> None:
    if sys.stderr.isatty() and (done == total or not done % 100):
        print(f"\rchecking rows: {done} of {total}", end="\n" if done == total else "", file=sys.stderr)
