"""The examples in the docstrings of routers run, and print what they say."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

from routers.algorithms import best_single, ensemble, extra_trees, knn, linear_mf

SHOWN = {
    "best_single": (best_single, best_single.BestSingle),
    "knn": (knn, knn.Knn),
    "linear_mf": (linear_mf, linear_mf.LinearMF),
    "extra_trees": (extra_trees, extra_trees.Trees),
    "ensemble": (ensemble, ensemble.Ensemble),
}


@pytest.fixture(scope="module", autouse=True)
def _scikit_learn() -> None:
    """Its first import takes a second, which is not an example's."""
    import_module("sklearn.ensemble")


@pytest.mark.parametrize("name", SHOWN)
def test_example_runs_and_prints_what_it_says(name: str) -> None:
    module, shown = SHOWN[name]
    (example,) = doctest.DocTestFinder(recurse=False).find(shown, shown.__qualname__, module=module)
    assert example.examples, f"{shown.__qualname__} has no example"
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert not failed, "".join(report)
