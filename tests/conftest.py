"""How the tests run. At its end a run says what it left out, how many histories of a ledger it played, and what should
be marked slow (or the machine was busy).
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator
from importlib.util import find_spec

import pytest
from hypothesis import settings

from tests.shared import SHARED_DATA

HAS_TORCH = find_spec("torch") is not None
SLOW_S = 1.0

collect_ignore_glob = [] if HAS_TORCH else ["models/export/*_parity.py"]

# One thread of BLAS and OpenMP: two processes of tests share the cores, and threads that wait for each other spin (on a
# busy machine the tests of routers took twenty times as long). Numpy is not imported yet; what tests start inherits it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# As `loupe` does before it imports a command: else huggingface_hub asks its hub about who is calling.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# A shell that runs the tests in the background has SIGINT ignored, and what tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The user's proxy has no business with 127.0.0.1, where all servers of the tests are: what tests start inherits that.
for scheme in ("http", "https", "all"):
    for variable in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
        os.environ.pop(variable, None)

# No time limit per example (the machine may be busy), and the same examples every time; `make check` tries fewer.
settings.register_profile("loupe", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("quick", settings.get_profile("loupe"), max_examples=15)
settings.load_profile("loupe")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays to the end: the garbage collector need not look through it, now or in any test; and what
    tests leave it looks through every 10,000 objects, not every 700.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000)
        gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")
        if report.duration > SLOW_S and "slow" not in report.keywords:
            terminalreporter.write_line(f"not marked slow: {report.nodeid}, {report.duration:.1f} s")
    if not HAS_TORCH:
        terminalreporter.write_line("left out: tests of parity, for torch is not installed (`make test-export` has it)")
    if not SHARED_DATA.is_dir():
        terminalreporter.write_line("left out: what needs ../shared/data, which is not beside this folder")
