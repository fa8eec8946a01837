"""`loupe` in a folder of somebody else's Python files: no process that it starts imports any of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.e2e.harness.processes import Command
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.site import settings_for
from tests.e2e.operations.test_loop_demo import written_table as table_to_loop
from tests.gateway.cli.routers.test_bench import written_table as table_to_judge

pytestmark = pytest.mark.slow

LOUPE = (str(Path(sys.executable).with_name("loupe")),)
AS_MODULE = (sys.executable, "-m", "gateway.cli")
OURS = ("models", "routers", "numpy", "tokenizers")
OF_PYTHON = ("multiprocessing", "pickle", "tempfile", "selectors", "signal")
ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with modules of these names, and a package `gateway`: each leaves a word in `ran` when imported."""
    there = tmp_path / "foreign"
    (there / "gateway" / "cli").mkdir(parents=True)
    (there / "gateway" / "cli" / "__main__.py").write_text("")
    for name in (*OURS, *OF_PYTHON, "gateway/__init__", "gateway/cli/__init__"):
        (there / f"{name}.py").write_text(f"with open({str(tmp_path / 'ran')!r}, 'a') as ran: ran.write('{name} ')\n")
    return there


def run_in(folder: Path) -> str:
    """The names of the modules that were imported from the folder."""
    ran = folder.with_name("ran")
    return ran.read_text() if ran.exists() else ""


def start(folder: Path, words: Sequence[str | Path], program: Sequence[str] = LOUPE) -> Command:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    log = folder.with_name("out.log")
    with log.open("wb") as out:
        process = subprocess.Popen([*program, *map(str, words)], cwd=folder, env=environment, stdout=out, stderr=out)
    return Command(process, log)


def assert_succeeds(command: Command) -> None:
    try:
        assert command.process.wait(300) == 0, command.text
    finally:
        command.process.kill()


def test_the_folder_would_run_in_any_python_that_looks_there(folder: Path) -> None:
    assert start(folder, ["-c", "import models, numpy"], [sys.executable]).process.wait(60) == 0
    assert run_in(folder) == "models numpy "


def test_demo_imports_nothing_from_the_folder(folder: Path) -> None:
    assert_succeeds(start(folder, ["demo", "--requests", "60"]))
    assert run_in(folder) == ""


def test_workers_import_nothing_from_the_folder(folder: Path, provider: ScriptedProvider) -> None:
    (folder / "gateway.yaml").write_text(yaml.safe_dump(settings_for(folder, provider.url)), encoding="utf-8")
    command = start(folder, ["serve", "--config", "gateway.yaml", "--port", "0", "--workers", "2"])
    try:
        command.until(lambda: command.text.count("Application startup complete") == 2, "two starts")
    finally:
        assert command.end() == 0
    assert run_in(folder) == ""


def test_loop_demo_imports_nothing_from_the_folder(folder: Path) -> None:
    words = ["--table", table_to_loop(folder, 900), "--router", "linear_mf", "--workers", "2", "--keep", "keep"]
    command = start(folder, ["loop-demo", *words])
    log = folder / "keep" / "gateway.log"
    try:
        command.until(lambda: log.exists() and log.read_text().count("startup complete") == 2, "both workers")
    finally:
        command.end(signal.SIGINT)
    assert run_in(folder) == ""


@pytest.mark.parametrize("program", [LOUPE, AS_MODULE])
def test_processes_of_a_bench_import_nothing_from_the_folder(folder: Path, program: Sequence[str]) -> None:
    if program is AS_MODULE:  # this package would be the one that was asked for
        (folder / "gateway").rename(folder / "not_gateway")
    words = ["--routers", "linear_mf", "--train", "0.5", "--seeds", "2", "--replicates", "10", "--jobs", "2"]
    assert_succeeds(start(folder, ["bench", "--table", table_to_judge(folder), *words], program))
    assert run_in(folder) == ""


def test_copy_that_is_not_installed_starts_children_of_its_own_code(tmp_path: Path) -> None:
    """As `make serve-compiled` does: `python -m gateway.cli` in `build/compiled`."""
    for name in ("__init__.py", "app/__init__.py", "app/child_process.py"):
        (tmp_path / "gateway" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "gateway" / name).write_bytes((ROOT / "gateway" / name).read_bytes())
    (tmp_path / "gateway" / "cli").mkdir()
    (tmp_path / "gateway" / "cli" / "__init__.py").write_text("")
    (tmp_path / "gateway" / "cli" / "__main__.py").write_text(
        "import subprocess, sys, gateway\n"
        "from gateway.app.child_process import child_environment, loupe_command\n"
        "print(gateway.__file__, sys.flags.safe_path, flush=True)\n"
        "if sys.argv[1:] != ['2']:\n"
        "    words = '2' if sys.argv[1:] else '1'\n"
        "    sys.exit(subprocess.run(loupe_command(words), env=child_environment()).returncode)\n"
    )
    done = subprocess.run(AS_MODULE, cwd=tmp_path, capture_output=True, text=True, check=True)
    here = tmp_path / "gateway" / "__init__.py"
    assert done.stdout.splitlines() == [f"{here} False", f"{here} True", f"{here} True"]
