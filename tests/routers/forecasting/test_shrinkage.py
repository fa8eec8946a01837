"""Claims to beat the best single candidate stand where held-out groups bore them out, and are folded where not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from routers.forecasting.shrinkage import ShrinkageFit
from routers.table.outcome_table import OutcomeTable

NOTHING_MOVED = np.zeros(3)


def judged(score: np.ndarray, costs: tuple[float, float, float] = (1.0, 2.0, 3.0)) -> OutcomeTable:
    """A table of three candidates, a group a row."""
    rows = tuple(str(row) for row in range(len(score)))
    return OutcomeTable(
        query_ids=rows,
        groups=rows,
        questions=("",) * len(rows),
        image_paths=(None,) * len(rows),
        candidates=("small", "middling", "large"),
        score=score,
        output_tokens=np.ones_like(score),
        cost_usd=np.tile(costs, (len(score), 1)),
    )


def world(rows: int = 600, best: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Scores of which the third candidate's are best, and forecasts that know nothing beyond the means."""
    random = np.random.default_rng(0)
    score = (random.random((rows, 3)) < [0.3, 0.5, best]).astype(np.float64)
    return score, np.clip(score.mean(axis=0) + 0.2 * random.standard_normal((rows, 3)), 0.01, 0.99)


def test_noise_that_claims_to_beat_the_best_is_not_believed() -> None:
    score, noise = world(best=0.6)
    caution = ShrinkageFit.fit(noise, judged(score), NOTHING_MOVED)
    assert caution == ShrinkageFit(incumbent=2, belief=0.0)
    assert (caution.apply(noise).argmax(axis=1) == 2).all()


def test_claims_that_were_borne_out_stand_as_they_are() -> None:
    score, noise = world(best=0.6)
    knows = 0.5 * score + 0.5 * noise
    caution = ShrinkageFit.fit(knows, judged(score), NOTHING_MOVED)
    assert caution.belief == 1.0
    np.testing.assert_allclose(caution.apply(knows), knows)


def test_folded_claims_keep_their_order_and_forecasts_far_below_stay() -> None:
    claims = np.linspace(-0.4, 0.4, 41)
    quality = np.stack([0.5 + claims, np.full(41, 0.1), np.full(41, 0.5)], axis=1)
    found = ShrinkageFit(incumbent=2, belief=0.0).apply(quality)
    assert (np.diff(found[:36, 0]) > 0).all()
    assert (np.diff(found[:, 0]) >= 0).all()
    assert (found[:, 0] <= 0.5).all()
    np.testing.assert_allclose(found[:10, 0], quality[:10, 0], atol=2e-4)
    np.testing.assert_array_equal(found[:, 2], quality[:, 2])


def test_of_candidates_that_are_alike_the_dearest_is_the_incumbent() -> None:
    random = np.random.default_rng(1)
    score = (random.random((300, 3)) < [0.3, 0.6, 0.6]).astype(np.float64)
    for costs, dearest in (((9.0, 2.0, 3.0), 2), ((9.0, 3.0, 2.0), 1)):
        assert ShrinkageFit.fit(score, judged(score, costs), NOTHING_MOVED).incumbent == dearest
    unpriced = replace(judged(score), cost_usd=np.full_like(score, np.nan))
    assert ShrinkageFit.fit(score, unpriced, NOTHING_MOVED).incumbent == int(score.mean(axis=0).argmax())


def test_rows_without_the_incumbent_bear_nothing_out() -> None:
    score, noise = world(best=0.6)
    hidden = score.copy()
    hidden[300:, 2] = np.nan
    knows = 0.5 * score + 0.5 * noise
    knows[:300] = noise[:300]
    assert ShrinkageFit.fit(knows, judged(hidden), NOTHING_MOVED).belief == 0.0
