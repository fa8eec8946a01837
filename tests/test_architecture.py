"""Laws of the house's files. The import table rests while the rooms move; it comes back with the last of them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("gateway", "routers", "models")
FILES = sorted(
    str(path.relative_to(ROOT))
    for room in OURS
    for path in (ROOT / room).rglob("*.py")
    if "__pycache__" not in str(path)
)


TRAINING = ("sklearn", "pyarrow", "matplotlib", "scipy")
NOT_TO_SERVE = {"torch", "onnx", *TRAINING, "pandas", "openai", "httpx", "huggingface_hub", "tqdm", "mypy", "pytest"}
MODULES_TO_SERVE = 1_100
"""More than importing the application loads: what is beyond makes every start and every worker slower."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the laws ask of a file, read from it once."""

    module: str
    imports: tuple[str, ...]
    is_explained: bool
    keeps_a_global: bool


@cache
def source_of(file: str) -> Source:
    tree, module = ast.parse((ROOT / file).read_text(encoding="utf-8")), module_of(file)
    keeps_a_global = any(isinstance(node, ast.Global) for node in ast.walk(tree))
    imports = imports_of(tree, module, is_package=file.endswith("__init__.py"))
    return Source(module, imports, bool(ast.get_docstring(tree)), keeps_a_global)


def test_every_module_says_what_it_is_for() -> None:
    assert [file for file in FILES if not source_of(file).is_explained] == []


def test_no_module_keeps_a_global() -> None:
    assert [file for file in FILES if source_of(file).keeps_a_global] == []


@pytest.mark.slow
def test_import_of_the_app_loads_nothing_that_only_commands_training_or_the_demo_need() -> None:
    report = "import sys, json, gateway.app.asgi; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert not {name.partition(".")[0] for name in loaded} & NOT_TO_SERVE
    assert not [name for name in loaded if name.startswith(("gateway.cli", "gateway.demo", "models.export"))]
    assert len(loaded) < MODULES_TO_SERVE


@pytest.mark.slow
def test_import_of_the_app_starts_no_thread_and_writes_no_file(tmp_path: Path) -> None:
    report = "import threading, gateway.app.asgi; assert threading.active_count() == 1, threading.enumerate()"
    done = subprocess.run([sys.executable, "-c", report], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def imports_of(tree: ast.Module, module: str, *, is_package: bool) -> tuple[str, ...]:
    """The modules that a file imports, at its top or inside its functions; relative names made whole."""
    package = module if is_package else module.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*parts, source] if source else parts)
            found += [full(source, alias.name) for alias in node.names]
    return tuple(found)


def full(source: str, name: str) -> str:
    """`from gateway import errors` imports gateway.errors; `from gateway.errors import X` imports gateway.errors."""
    base = ROOT.joinpath(*source.split("."), name)
    return f"{source}.{name}" if base.is_dir() or base.with_suffix(".py").is_file() else source


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
