"""`loupe grade`: label logged answers whose content was kept, by known right answers."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.cli.outcomes.table import past
from gateway.errors import ConfigError, StoreError
from gateway.images.data_url import ImageLimits
from gateway.outcomes.collect.dataset import ReadingSettings, read_dataset
from gateway.outcomes.graders.base import BadReference, Grader, Reference
from gateway.outcomes.graders.registry import AUTO, GRADERS, grader_for
from gateway.outcomes.graders.time_limit import OutOfTime, within
from gateway.outcomes.label import LATEST_S, Label, LabelError
from gateway.outcomes.log.content import LONGEST_REPLY
from gateway.outcomes.log.labels import UnknownRequest, probabilities, put_labels
from gateway.outcomes.log.reader import LoggedAnswer, logged_answers
from gateway.outcomes.log.schema import decisions_path

SOURCE = "grader"
LABELS_AT_ONCE = 200
LONGEST_GRADING_S = 2.0
SHOWN_BAD_ROWS = 20
MEANINGS = {
    "not_known": "of which no right answer is known",
    "not_drawn": "not drawn by --sample",
    "too_old": "too old to be labelled",
    "too_long": "whose end was not recorded",
    "out_of_time": "that took a grader too long",
    "refused": "that could not be labelled",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--store", type=Path, required=True, metavar="FILE", help="the gateway's store.path")
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument(
        "--answers", type=Path, metavar="FILE", help="CSV or JSON lines, as for `loupe collect --dataset`"
    )
    known.add_argument("--expected", metavar="TEXT", help="one for every answer (a pattern, a schema); @FILE reads it")
    parser.add_argument("--images", type=Path, metavar="DIR", help="where img_path starts; by default beside --answers")
    parser.add_argument(
        "--grader", default=AUTO, help=f"where a row names none: {AUTO} (default), {', '.join(GRADERS)}"
    )
    parser.add_argument("--since", type=past, metavar="WHEN", help="2027-01-31T00:00:00Z, or 7d ago; by default all")
    parser.add_argument("--until", type=past, metavar="WHEN", help="by default until now")
    parser.add_argument("--tenant", metavar="NAME")
    parser.add_argument(
        "--sample", type=_rate, default=1.0, metavar="RATE", help="label this share, drawn; default all"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw; another one is a source of labels of its own")


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """A grader and a reference by which an answer is graded."""

    grader: Grader
    reference: Reference


Rule = AnswerKey | Mapping[tuple[str, str], AnswerKey]
"""One answer key for every answer, or keys by question and the sha256 of its image (empty: no image)."""


@dataclass(slots=True)
class GradeReport:
    """The labels, and the counts of answers that were not labelled, by the names of `MEANINGS`."""

    labels: list[tuple[str, Label]] = field(default_factory=list)
    """Candidate and label."""
    passed_over: Counter[str] = field(default_factory=Counter)


def run(arguments: argparse.Namespace) -> int:
    """Grade logged answers. Raises ConfigError for a missing log, a log without content, and bad
    rows of known answers.
    """
    rule = _rule(arguments)
    now = time.time()
    try:
        found = logged_answers(
            arguments.store, since=arguments.since or 0.0, until=arguments.until, tenant=arguments.tenant
        )
        report = _graded(found, rule, arguments, now)
        _put(arguments.store, report, now)
    except StoreError as error:
        raise ConfigError(f"{error} (is `content` kept by this gateway?)") from None
    _say(report)
    return 0


def _rule(arguments: argparse.Namespace) -> Rule:
    if arguments.expected is not None:
        text = arguments.expected
        if text.startswith("@"):
            try:
                text = Path(text[1:]).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"--expected: {error}") from None
        reference = Reference(text)
        try:
            return AnswerKey(grader_for(arguments.grader, reference), reference)
        except BadReference as error:
            raise ConfigError(f"--expected: {error}") from None
    return _known_answers(arguments)


def _known_answers(arguments: argparse.Namespace) -> Mapping[tuple[str, str], AnswerKey]:
    """Read the known answers. Raises ConfigError for bad rows, and for two rows with one question and different
    answers.
    """
    path: Path = arguments.answers
    dataset = read_dataset(
        path, ReadingSettings(arguments.images or path.parent, ImageLimits(), arguments.grader), _silent
    )
    faults = [f"row {bad.number}: {bad.why}" for bad in dataset.bad]
    known: dict[tuple[str, str], AnswerKey] = {}
    for row in dataset.rows:
        key = (row.question.strip(), row.picture.sha256 if row.picture else "")
        each = AnswerKey(row.grader, row.reference)
        if known.setdefault(key, each).reference.answer != row.reference.answer:
            faults.append(f"row {row.number}: an earlier row asks the same and has another answer")
    if faults:
        more = [f"and {len(faults) - SHOWN_BAD_ROWS} more"] if len(faults) > SHOWN_BAD_ROWS else []
        raise ConfigError("\n  ".join([f"{path}: {len(faults)} bad row(s)", *faults[:SHOWN_BAD_ROWS], *more]))
    return known


def _graded(found: Iterable[LoggedAnswer], rule: Rule, arguments: argparse.Namespace, now: float) -> GradeReport:
    report = GradeReport()
    given: dict[str, Mapping[str, float]] = {}
    for answer in found:
        known = rule if isinstance(rule, AnswerKey) else _known(answer, rule)
        reason = _reason_to_pass(answer, known, arguments, now)
        if reason is not None or known is None:
            report.passed_over[reason or "not_known"] += 1
            continue
        source = _source(known.grader, arguments.seed)
        if source not in given:
            given[source] = probabilities(decisions_path(arguments.store), source)
        try:
            with within(LONGEST_GRADING_S):
                grade = known.grader.grade(answer.reply, known.reference)
        except OutOfTime:
            report.passed_over["out_of_time"] += 1
            continue
        # An earlier draw at a higher rate counts with that rate, because the same seed draws the same answers.
        probability = max(arguments.sample, given[source].get(answer.request_id, 0.0))
        label = Label(answer.request_id, grade.score, source, known.grader.version[:64], probability)
        report.labels.append((answer.candidate, label))
    return report


def _reason_to_pass(
    answer: LoggedAnswer, known: AnswerKey | None, arguments: argparse.Namespace, now: float
) -> str | None:
    if known is None:
        return "not_known"
    if len(answer.reply) >= LONGEST_REPLY:
        return "too_long"
    if now - answer.started_at > LATEST_S:
        return "too_old"
    return None if is_drawn(answer.request_id, arguments.sample, arguments.seed) else "not_drawn"


def is_drawn(request_id: str, rate: float, seed: int) -> bool:
    """Return whether a request is in a sample of this rate. With one seed, a larger sample contains
    the smaller ones.
    """
    digest = hashlib.sha256(f"{seed}/{request_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < rate * 2**64


def _known(answer: LoggedAnswer, rule: Mapping[tuple[str, str], AnswerKey]) -> AnswerKey | None:
    question = answer.question.strip()
    images = [hashlib.sha256(image).hexdigest() for image in answer.images]
    if not answer.image_count:
        images = [""]
    return next((rule[question, image] for image in images if (question, image) in rule), None)


def _source(grader: Grader, seed: int) -> str:
    kind = grader.version.partition("/")[0]
    return f"{SOURCE}:{kind}:{seed}" if seed else f"{SOURCE}:{kind}"


def _put(store: Path, report: GradeReport, now: float) -> None:
    """Store labels, some at a time so that a gateway that is writing never waits long; count refused labels."""
    path = decisions_path(store)
    kept = []
    for start in range(0, len(report.labels), LABELS_AT_ONCE):
        group = report.labels[start : start + LABELS_AT_ONCE]
        try:
            put_labels(path, [label for _, label in group], now)
            kept += group
        except (LabelError, UnknownRequest):
            for each in group:
                try:
                    put_labels(path, [each[1]], now)
                    kept.append(each)
                except (LabelError, UnknownRequest):
                    report.passed_over["refused"] += 1
    report.labels = kept


def _say(report: GradeReport) -> None:
    labels = [label for _, label in report.labels]
    mean = f", mean score {sum(label.score for label in labels) / len(labels):.4f}" if labels else ""
    print(f"labelled {len(labels):,} answers{mean}")
    for candidate in sorted({candidate for candidate, _ in report.labels}):
        scores = [label.score for name, label in report.labels if name == candidate]
        print(f"  {candidate}: {len(scores):,}, mean {sum(scores) / len(scores):.4f}")
    for name, meaning in MEANINGS.items():
        if report.passed_over[name]:
            print(f"skipped {report.passed_over[name]:,} {meaning}")
    if not labels:
        print("loupe grade: nothing was labelled", file=sys.stderr)


def _silent(_done: int, _total: int) -> None:
    return


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 1e-6 <= rate <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share over 0 and up to 1")
    return rate
