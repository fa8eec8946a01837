"""What every family gets beside its idea: limits, spread, tokens, reading and writing, held-out groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from routers.base import Floats, Router, Views
from routers.forecasting.head import HeadAlgorithm, HeadRouter, held_out_quality
from routers.registry import Algorithm
from routers.table.outcome_table import OutcomeTable, TableError
from tests.checks.router_checks import ROUTER_CHECKS
from tests.fakes.synthetic import drawn_table


@dataclass(frozen=True, slots=True, eq=False)
class Sloped:
    """A head that knows the means and one direction of the text view, and shouts: its range is no score's."""

    algorithm: ClassVar[str] = "sloped"

    means: Floats
    slope: Floats

    @property
    def view_dims(self) -> Mapping[str, int]:
        return {"text": len(self.slope)}

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"loud": 3}

    def quality(self, views: Views) -> Floats:
        rows = views["text"]
        if rows.ndim != 2 or rows.shape[1] != len(self.slope):
            raise ValueError(f"view 'text' is {rows.shape}")
        return np.asarray(self.means + 3 * (rows @ self.slope)[:, None], dtype=np.float64)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        return {"means": self.means, "slope": self.slope}

    @classmethod
    def fit(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> Sloped:
        centred = np.nanmean(table.score, axis=1) - np.nanmean(table.score)
        return cls(np.nanmean(table.score, axis=0), centred @ views["text"] / len(table))

    @classmethod
    def restore(
        cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], view_dims: Mapping[str, int]
    ) -> Sloped:
        return cls(arrays["means"], arrays["slope"])


def fitted() -> HeadRouter:
    table, views = drawn_table(missing=0.2)
    return HeadAlgorithm(Sloped).fit(table, views, encoder_digest="e" * 64)


@pytest.mark.parametrize("check", ROUTER_CHECKS)
def test_any_head_obeys_once_it_is_wrapped(check: Callable[[Router], None]) -> None:
    check(fitted())


def test_headed_is_an_algorithm_of_the_head_s_name() -> None:
    algorithm: Algorithm = HeadAlgorithm(Sloped)
    assert algorithm.algorithm == fitted().algorithm == "sloped"
    assert fitted().settings == {"loud": 3}


def test_restored_router_forecasts_what_the_fitted_one_did() -> None:
    _, views = drawn_table(missing=0.2)
    router = fitted()
    header = {
        "candidates": list(router.candidates),
        "view_dims": dict(router.view_dims),
        "hyper_parameters": dict(router.settings),
        "encoder": {"digest": "e" * 64},
    }
    restored = HeadAlgorithm(Sloped).restore(header, router.arrays(), "d" * 64)
    np.testing.assert_array_equal(restored.forecast(views).quality, router.forecast(views).quality)
    np.testing.assert_array_equal(restored.forecast(views).quality_std, router.forecast(views).quality_std)
    assert (restored.digest, restored.encoder_digest) == ("d" * 64, "e" * 64)
    with pytest.raises(ValueError, match="quality_low"):
        HeadAlgorithm(Sloped).restore(header, {**router.arrays(), "quality_low": np.zeros(9)}, "")
    with pytest.raises(KeyError):
        HeadAlgorithm(Sloped).restore(header, {}, "")


def test_held_out_forecast_of_a_row_owes_nothing_to_its_group() -> None:
    table, views = drawn_table(groups=20)
    before = held_out_quality(Sloped, table, views, seed=0)
    altered = table.score.copy()
    altered[:4] = 1 - altered[:4]
    after = held_out_quality(Sloped, replace(table, score=altered), views, seed=0)
    np.testing.assert_array_equal(after[:4], before[:4])
    assert not np.array_equal(after[4:], before[4:])


def test_head_that_holds_out_by_itself_is_asked_for_it() -> None:
    class Thrifty(Sloped):
        @classmethod
        def fit_held_out(cls, table: OutcomeTable, views: Views, *, seed: int = 0) -> tuple[Sloped, Floats]:
            return Sloped.fit(table, views, seed=seed), np.full(table.score.shape, 0.4)

    table, views = drawn_table()
    quality = HeadAlgorithm(Thrifty).fit(table, views).forecast(views).quality
    np.testing.assert_allclose(quality, 0.4)


def test_table_that_cannot_teach_is_refused(tmp_path: Path) -> None:
    table, views = drawn_table()
    with pytest.raises(TableError, match=r"candidate-0.*output token count"):
        HeadAlgorithm(Sloped).fit(replace(table, output_tokens=np.full_like(table.score, np.nan)), views)
    with pytest.raises(TableError, match="one group"):
        HeadAlgorithm(Sloped).fit(replace(table, groups=("g",) * len(table)), views)


def test_head_of_other_candidates_is_refused() -> None:
    router = fitted()
    header = {
        "candidates": ["a", "b"],
        "view_dims": dict(router.view_dims),
        "hyper_parameters": {},
        "encoder": {"digest": ""},
    }
    with pytest.raises(ValueError, match="knows 4 candidates, not 2"):
        HeadAlgorithm(Sloped).restore(header, router.arrays(), "")
