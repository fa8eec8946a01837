"""A label: how good one answer was, who says so, and with which probability the answer was chosen for labelling."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

LATEST_S = 30 * 86_400.0
"""Seconds after its request for which an answer may be labelled."""
LONGEST_COMMENT = 2_000
MOST_SOURCES = 16
"""The most sources that may label one request."""
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,63}")
_VERSION = re.compile(r"[!-~]{0,64}")


class LabelError(ValueError):
    """A label cannot be accepted. `param` is the member at fault, and `code` a short name of the reason."""

    def __init__(self, message: str, param: str, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class Label:
    """One source's label for one request. Raises LabelError for values out of range.

    Attributes:
        score: 0 to 1.
        source: who says so (`client`, `grader:exact`, ...); a source has one label per request, and its last counts.
        version: version of the source.
        probability: probability with which this row was chosen for labelling, over 0 to 1; 1 if all rows are chosen.
        comment: free text, or None.
    """

    request_id: str
    score: float
    source: str = "client"
    version: str = ""
    probability: float = 1.0
    comment: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:  # also catches NaN
            raise LabelError(f"score: {self.score!r} is not a number from 0 to 1", "score")
        if not (0 < self.probability <= 1 and math.isfinite(1 / self.probability)):
            raise LabelError(f"probability: {self.probability!r} is not a number over 0 and up to 1", "probability")
        if not _SOURCE.fullmatch(self.source):
            what = "is not 1 to 64 letters, digits and ._:/@-, beginning with a letter or digit"
            raise LabelError(f"source: {self.source[:80]!r} {what}", "source")
        if not _VERSION.fullmatch(self.version):
            raise LabelError(f"version: {self.version[:80]!r} is not up to 64 printable characters", "version")
        if self.comment is not None and len(self.comment) > LONGEST_COMMENT:
            size = len(self.comment)
            raise LabelError(f"comment: {size} characters are over the limit of {LONGEST_COMMENT}", "comment")


@dataclass(frozen=True, slots=True)
class LabelResult:
    """The request that a label was given to. `modality` is `text` or `image`; `is_new` is False if
    it replaced a label.
    """

    tenant: str
    candidate: str
    modality: str
    is_new: bool
