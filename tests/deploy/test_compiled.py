"""`make compiled`: what is compiled may be, and the gateway that comes of it does what the other does."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shared import SHARED_DATA

from .boards import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOOK = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
COMPILED = [name.removeprefix("/") for name in HOOK["include"]]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "gateway", "routers", "models")
TESTS = (
    "tests/gateway/api",
    "tests/gateway/billing",
    "tests/gateway/outcomes/log",
    "tests/gateway/pipeline",
    "tests/gateway/providers",
    "tests/gateway/routing",
    "tests/gateway/tenants",
    "tests/gateway/stores/sqlite/test_budgets_checks.py",
    "tests/e2e/requests/test_acceptance.py",
    "tests/e2e/requests/test_break_offs.py",
    "tests/e2e/budgets/test_budgets.py",
    "tests/e2e/requests/test_chat.py",
    "tests/e2e/outcomes/test_decisions.py",
    "tests/e2e/budgets/test_exploration.py",
    "tests/e2e/requests/test_hang_ups.py",
    "tests/e2e/requests/test_hostile_bodies.py",
)
"""The tests of the modules that are compiled, and of the request's path that they are on."""
LEFT_OUT = "not 2020 and not DynaMath and not replay"
"""The long versions of tests whose short version is run here, and the simulated pool, which is not compiled."""


@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_module_has_nothing_that_mypyc_gets_wrong(name: str) -> None:
    """As of mypyc 2.4: an exception that passes an `await` in a `finally` or `except` is lost; a name that two `except`
    clauses of a function bind keeps the first one's type; msgspec does not find the annotations of a struct.
    """
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            cleaning = [*node.finalbody, *node.handlers]
            assert not [each for part in cleaning for each in ast.walk(part) if isinstance(each, ast.Await)]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [each.name for each in ast.walk(node) if isinstance(each, ast.ExceptHandler) and each.name]
            assert len(names) == len(set(names)), f"{node.name} binds one name to two exceptions"
        if isinstance(node, ast.ClassDef):
            assert not [base for base in node.bases if ast.unparse(base).endswith("Struct")]


def test_everything_it_is_built_with_is_pinned() -> None:
    pins = [*HOOK["dependencies"], *PROJECT["build-system"]["requires"]]
    assert all("==" in pin for pin in pins)
    of_tests = PROJECT["project"]["optional-dependencies"]["test"]
    ours = [*of_tests, *PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    assert set(pins) <= set(ours)  # one version of each in the project


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project, compiled in its place, beside the shared data."""
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.fail("no C compiler: `make test` installs gcc where it may")
    folder = tmp_path_factory.mktemp("compiled")
    tree = folder / "tree"
    tree.mkdir()
    for name in (*BUILT_FROM, "tests", "benchmarks", "deploy", "docs"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    if SHARED_DATA.is_dir():
        (folder / "shared").symlink_to(SHARED_DATA.parent)
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "wheel"), str(tree)]
    built = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *words],
        env={**os.environ, "HATCH_BUILD_HOOK_ENABLE_MYPYC": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1_800,
    )
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    assert len(list((folder / "wheel").glob("loupe_gateway-*.whl"))) == 1
    yield tree
    shutil.rmtree(folder)


@pytest.mark.slow
def test_the_compiled_gateway_passes_the_tests_of_its_path(compiled: Path) -> None:
    modules = [name.removesuffix(".py").replace("/", ".") for name in COMPILED]
    ask = "import importlib, sys; print(*[importlib.import_module(name).__file__ for name in sys.argv[1:]], sep='\\n')"
    loaded = _run(compiled, "-c", ask, *modules).split()
    assert len(loaded) == len(modules)
    assert all(Path(file).suffix == ".so" and compiled in Path(file).parents for file in loaded), loaded
    passed = _run(
        compiled, "-m", "pytest", "-p", "no:cacheprovider", "--hypothesis-profile", "quick", "-k", LEFT_OUT, *TESTS
    )
    assert " passed" in passed or "100%" in passed, passed[-3000:]


def _run(tree: Path, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=1_800
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    return done.stdout
