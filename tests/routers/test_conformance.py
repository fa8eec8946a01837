"""Every router, the fake one too, under the same laws."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from routers.artifact import bundled, load
from routers.base import Router
from routers.registry import ALGORITHMS
from tests.checks.router_checks import ALGORITHM_CHECKS, ROUTER_CHECKS, trained
from tests.fakes.router import FakeRouter, Fixed

# `make check` tries two, one that solves and one that remembers; the others take up to seconds a fit.
QUICK = ("linear", "knn")
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ALGORITHMS]


@cache
def ready_router(name: str) -> Router:
    if name == "fake":
        return FakeRouter(("a", "b"), {"a": Fixed(0.9)}, view_dims={"text": 8, "image": 4})
    return load(bundled()) if name == "bundled" else trained(ALGORITHMS[name])[0]


@pytest.mark.parametrize("name", ["fake", "bundled", *NAMES])
@pytest.mark.parametrize("check", ROUTER_CHECKS)
def test_router_obeys(check: Callable[[Router], None], name: str) -> None:
    check(ready_router(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", ALGORITHM_CHECKS)
def test_algorithm_obeys(check: Callable[..., None], name: str, tmp_path: Path) -> None:
    check(ALGORITHMS[name], tmp_path)


def test_fake_router_raises_what_it_is_told_to() -> None:
    router = FakeRouter(("a",), fail=RuntimeError("down"))
    with pytest.raises(RuntimeError, match="down"):
        router.forecast({})
    assert router.calls == 1
