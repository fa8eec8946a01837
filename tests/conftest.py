"""What a run leaves out, it says at its end; and how many histories of a ledger it played."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.shared import SHARED_DATA

HAS_TORCH = find_spec("torch") is not None

collect_ignore_glob = [] if HAS_TORCH else ["export/*"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")
    if not HAS_TORCH:
        terminalreporter.write_line("left out: tests/export, for torch is not installed (`make test-export` has it)")
    if not SHARED_DATA.is_dir():
        terminalreporter.write_line("left out: what needs ../shared/data, which is not beside this folder")
