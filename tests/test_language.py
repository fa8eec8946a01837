"""Laws of English: what users read, and docstrings, hold none of the forms that a newcomer stumbles over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ("gateway", "routers", "models", "deploy")
"""Folders whose strings users may read: errors, logs, help, metrics, reports, dashboards."""

MESSAGES = {
    r"(?<!there )\b(is|are|was) no (?!longer\b|more\b)": "say 'is not a ...', 'is not valid JSON'",
    r"(^|: )no (JSON|YAML|CSV|HTTP|text)\b": "say 'not valid JSON'",
    r"\bthere (is|are) no \w+ [{']": "say \"unknown router 'x'\"",
    r"\bstands? twice\b": "say 'appears twice'",
    r"\bcan not\b": "write 'cannot'",
    r"; there (is|are) (\{|\w+, )": "say \"unknown router 'x'; known: a, b\"",
    r"\b(has|have|is|are) (no|of no) use\b": "say 'has no effect'",
    r"\bfor want of\b": "say 'because ... is missing'",
    r"\blet(s)? go\b": "say 'dropped' or 'removed'",
    r"\b(can ?not|could not|can|could) be had\b": "say what failed: 'cannot be opened', 'cannot be fetched'",
    r"\bin a row\b": "say 'consecutive'",
    r"\bby its word\b": "say 'as stated'",
    r"\bnonsense\b": "say 'invalid'",
    r"\bfall(s)? silent\b": "say 'stops reporting'",
}
"""Forbidden in what users read -> the better form."""

DOCSTRINGS = {
    r"\bcan not\b": "write 'cannot'",
    r"\bstands? twice\b": "say 'appears twice'",
    r"\bfor want of\b": "say 'because ... is missing'",
    r"\bfall(s)? silent\b": "say 'stops reporting'",
    r"\b(is|are|was) no (YAML|JSON|CSV|\w+ number|number)\b": "say 'is not valid JSON', 'is not a number'",
}
"""Forbidden in docstrings -> the better form."""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of English: where it begins, and its words; what an f-string fills in is written {so}."""

    file: str
    line: int
    words: str

    def faults(self, forms: dict[str, str]) -> Iterator[str]:
        """Yield a line for each forbidden form: the place, the words and the better form."""
        for form, better in forms.items():
            if re.search(form, self.words, re.IGNORECASE | re.DOTALL):
                yield f"{self.file}:{self.line}: {' '.join(self.words.split())[:160]!r}: {better}"


def strings(node: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """Yield (line, words, whether it is a docstring) of each string under a node; an f-string is one string."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.lineno, child.value, isinstance(node, ast.Expr)
        elif isinstance(child, ast.JoinedStr):
            yield child.lineno, "".join(map(_part, child.values)), False
            for value in child.values:
                if isinstance(value, ast.FormattedValue):
                    yield from strings(value)
        else:
            yield from strings(child)


def _part(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    assert isinstance(value, ast.FormattedValue)
    return "{" + ast.unparse(value.value) + "}"


@cache
def python_texts() -> tuple[tuple[Text, bool], ...]:
    """Return every string of two words or more under `CODE`, and whether it is a docstring."""
    files = [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(
        (Text(str(path.relative_to(ROOT)), line, words), is_docstring)
        for path in files
        for line, words, is_docstring in strings(ast.parse(path.read_text()))
        if " " in words.strip()
    )


def documents() -> list[Path]:
    """Return the files outside Python that hold words for users: examples, dashboards, alerts, pages."""
    kinds = ("*.yaml", "*.yml", "*.json", "*.md")
    found = [path for folder in ("deploy", "docs") for kind in kinds for path in (ROOT / folder).rglob(kind)]
    return sorted([*found, ROOT / "README.md"])


def document_texts() -> Iterator[Text]:
    """Yield the lines of `documents`."""
    for path in documents():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield Text(str(path.relative_to(ROOT)), number, line)


def told(faults: list[str]) -> str:
    return "\n".join([f"{len(faults)} forbidden forms:", *faults])


def test_messages_hold_no_forbidden_form() -> None:
    faults = [fault for text, is_docstring in python_texts() if not is_docstring for fault in text.faults(MESSAGES)]
    assert not faults, told(faults)


def test_examples_dashboards_and_pages_hold_no_forbidden_form() -> None:
    faults = [fault for text in document_texts() for fault in text.faults(MESSAGES)]
    assert not faults, told(faults)


def test_docstrings_hold_no_forbidden_form() -> None:
    faults = [fault for text, is_docstring in python_texts() if is_docstring for fault in text.faults(DOCSTRINGS)]
    assert not faults, told(faults)


def test_the_collector_sees_raises_prints_help_metrics_and_models() -> None:
    seen = " | ".join(text.words for text, is_docstring in python_texts() if not is_docstring)
    samples = (
        "the body is not valid JSON: ",  # raised
        "reload refused, nothing was changed",  # logged
        "go on without rows that",  # argparse help
        "Settlements that the store has not taken yet",  # metric help
        "a total cannot roll",  # pydantic validator
    )
    assert [sample for sample in samples if sample not in seen] == []


@pytest.mark.parametrize(
    ("words", "faulty"),
    [
        ("the body is no JSON: {error}", True),
        ("'x' is no whole number of 1 or more", True),
        ("the model is no longer on offer", False),
        ("there is no router 'x'; there is a, b", True),
        ("there is no model behind it", False),
        ("Refused for want of budget", True),
        ("3 consecutive failures", False),
        ("the column stands twice", True),
        ("the file could not be had", True),
        ("it can not change", True),
        ("it cannot change", False),
    ],
)
def test_the_forms_are_told_apart(words: str, faulty: bool) -> None:
    assert bool(list(Text("x.py", 1, words).faults(MESSAGES))) is faulty


def test_an_f_string_is_read_as_one_text() -> None:
    tree = ast.parse('"""A docstring here."""\nraise ValueError(f"{name!r} is " "no" f" router of {kind}")')
    assert list(strings(tree)) == [
        (1, "A docstring here.", True),
        (2, "{name} is no router of {kind}", False),
    ]
