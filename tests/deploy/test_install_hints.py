"""Every line that tells a user to install something names this project's distribution and an extra that it has."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HINT = re.compile(r"pip install\b")
RIGHT = re.compile(rf"pip install (['\"]){re.escape(PROJECT['name'])}\[(?P<extra>\w+)\]\1")
EXTRA = re.compile(r"\bloupe(?:-gateway)?\[\w+\]")


def wrong_hints(text: str) -> list[str]:
    """Return what follows `pip install`, and every `loupe[...]`, that would not install an extra of this project."""
    extras = PROJECT["optional-dependencies"]
    wrong = []
    for found in HINT.finditer(text):
        right = RIGHT.match(text, found.start())
        if right is None or right["extra"] not in extras:
            wrong.append(text[found.start() : found.end() + 40])
    known = {f"{PROJECT['name']}[{extra}]" for extra in extras}
    return wrong + [name for name in EXTRA.findall(text) if name not in known]


def strings_of_the_product() -> Iterator[tuple[str, str]]:
    """Yield the string constants, docstrings and fixed parts of f-strings of files that speak of installing."""
    for room in ("gateway", "routers", "models", "deploy"):
        for path in sorted((ROOT / room).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if "install" not in source and not EXTRA.search(source):
                continue
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


def test_every_hint_in_the_product_names_our_distribution_and_an_extra_it_has() -> None:
    strings = dict(strings_of_the_product())
    assert {place: found for place, text in strings.items() if (found := wrong_hints(text))} == {}
    assert sum("pip install" in text for text in strings.values()) >= 5


@pytest.mark.parametrize(
    "text",
    [
        "pip install 'loupe[science]'",
        'pip install "loupe-gateway[sience]"',
        "pip install loupe-gateway[science]",
        "pip install scikit-learn",
        "pip install ",
        "(takes loupe[export])",
    ],
)
def test_the_law_tells_a_wrong_hint(text: str) -> None:
    assert wrong_hints(f"this needs more: {text}")


def test_the_tests_install_this_distribution_with_its_own_extras() -> None:
    extras = PROJECT["optional-dependencies"]
    own = {extra: [name for name in packages if name.startswith("loupe")] for extra, packages in extras.items()}
    assert own["test"] == [f"{PROJECT['name']}[demo,grade,onnx,science]"]
    assert own["export"] == [f"{PROJECT['name']}[onnx]"]
    assert PROJECT["scripts"] == {"loupe": "gateway.cli:main"}
