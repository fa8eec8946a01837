"""Output tokens: nine of ten replies within the quantile, and a mean that is a mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routers.forecasting.output_tokens import TokenHeads, log_tokens
from tests.fakes.synthetic import drawn_table


def test_skewed_replies_keep_their_mean_and_their_quantile() -> None:
    random = np.random.default_rng(0)
    centre = np.repeat(random.uniform(3, 6, 4000)[:, None], 2, axis=1)
    logs = centre + random.standard_normal(centre.shape) * np.array([0.2, 0.9])
    heads = TokenHeads.fit(centre, centre, logs)
    mean, high = heads.forecast(centre)
    np.testing.assert_allclose(mean.mean(axis=0), np.exp(logs).mean(axis=0), rtol=0.05)
    np.testing.assert_allclose((np.exp(logs) <= high).mean(axis=0), 0.9, atol=0.01)


def test_no_query_is_forecast_beyond_what_training_showed() -> None:
    logs = np.array([[1.0], [2.0], [3.0]])
    heads = TokenHeads.fit(logs, logs, logs)
    mean, high = heads.forecast(np.array([[-50.0], [50.0]]))
    np.testing.assert_allclose(mean[:, 0], np.exp([1.0, 3.0]))
    np.testing.assert_allclose(high, mean)


def test_cells_that_were_not_observed_say_nothing() -> None:
    logs = np.array([[1.0, 2.0], [2.0, np.nan], [3.0, 4.0]])
    held = np.array([[1.5, 2.5], [2.5, 99.0], [3.5, 4.5]])
    heads = TokenHeads.fit(held, held, logs)
    np.testing.assert_allclose(heads.token_log_high, [3.5, 4.5])
    np.testing.assert_allclose(heads.token_mean, np.exp([-0.5, -0.5]))


def test_reply_without_a_token_counts_as_one() -> None:
    table, _ = drawn_table(groups=2)
    tokens = table.output_tokens.copy()
    tokens[0, 0], tokens[1, 1] = 0.0, np.nan
    logs = log_tokens(replace(table, output_tokens=tokens))
    assert logs[0, 0] == 0.0
    assert np.isnan(logs[1, 1])


def test_stored_columns_of_another_width_are_refused() -> None:
    heads = TokenHeads.fit(*(np.ones((3, 2)),) * 3)
    arrays = {name: getattr(heads, name) for name in ("token_log_low", "token_log_high", "token_mean", "token_high")}
    assert TokenHeads.restore(arrays, 2).token_mean is arrays["token_mean"]
    with pytest.raises(ValueError, match="token_log_low"):
        TokenHeads.restore(arrays, 3)
    with pytest.raises(KeyError):
        TokenHeads.restore({}, 2)
