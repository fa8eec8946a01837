"""Prices: what is set, what the bundled list says, and that nothing is guessed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice

from gateway.billing.price import Price, cost, cost_with_cache
from gateway.billing.price_list import NOT_COUNTED, PriceRequest, price_of
from gateway.errors import ConfigError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OPENAI = "https://api.openai.com/v1"
LISTED = f"genai-prices {version('genai-prices')}"
GPT_4O = PriceRequest("fast", "gpt-4o", "mine", OPENAI)


def test_a_price_that_is_set_is_taken_and_the_list_not_asked() -> None:
    price, source = price_of(replace(GPT_4O, model="unheard-of", input_usd=2.5, output_usd=10.0), NOW)
    assert price == Price(2_500_000_000, 10_000_000_000)
    assert source == "set 2.5/10"


def test_a_price_that_is_left_out_is_the_lists_by_the_providers_address() -> None:
    price, source = price_of(GPT_4O, NOW)
    assert price == Price(2_500_000_000, 10_000_000_000, 1_250_000_000)
    assert source == f"{LISTED} openai/gpt-4o"


def test_an_address_that_the_list_does_not_know_is_helped_by_the_providers_name() -> None:
    price, _ = price_of(replace(GPT_4O, provider="openai", base_url="http://10.0.0.1/v1"), NOW)
    assert price == price_of(GPT_4O, NOW)[0]


def test_a_price_may_be_looked_up_under_another_name() -> None:
    asked = PriceRequest(
        "sonnet", "my-alias", "mine", "http://10.0.0.1/v1", price_as="openrouter/anthropic/claude-3.5-sonnet"
    )
    price, source = price_of(asked, NOW)
    assert (price.input_per_million, price.output_per_million) == (3_000_000_000, 15_000_000_000)
    assert source == f"{LISTED} openrouter/anthropic/claude-3.5-sonnet"


def test_cached_price_that_is_set_stands_beside_the_lists_others() -> None:
    price, source = price_of(replace(GPT_4O, cached_input_usd=1.0), NOW)
    assert price == Price(2_500_000_000, 10_000_000_000, 1_000_000_000)
    assert source == f"{LISTED} openai/gpt-4o, set cached 1"


def test_tiers_of_the_list_are_kept() -> None:
    asked = PriceRequest("pro", "gemini-2.5-pro", "google", "https://generativelanguage.googleapis.com/v1beta/openai")
    price, _ = price_of(asked, NOW)
    assert price.at(200_000).input_per_million == 1_250_000_000
    assert price.at(200_001).input_per_million == 2_500_000_000
    assert price.at(200_001).cached_input_per_million == 250_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "gpt-4o-of-nobody"},
        {"provider": "mine", "base_url": "http://10.0.0.1/v1"},
        {"price_as": "nobody/gpt-4o"},
        {"price_as": "openai/gpt-4o-of-nobody"},
        {"price_as": "openai/text-embedding-3-small"},
        {"cached_input_usd": 99.0},
        {"input_usd": 1.0, "output_usd": 1.0, "cached_input_usd": 2.0},
    ],
)
def test_a_price_that_is_unknown_or_makes_no_sense_is_refused_with_the_fix(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"candidate fast: .*set input_usd_per_mtok and output_usd_per_mtok"):
        price_of(replace(GPT_4O, **changes), NOW)


def test_a_price_for_more_than_tokens_is_refused() -> None:
    snapshot = get_snapshot()
    found = [
        f"{provider.id}/{model.id}"
        for provider in snapshot.providers
        for model in provider.models
        if isinstance(model.prices, ModelPrice)
        and {"requests_kcount", "input_mtok", "output_mtok"} <= set(vars(model.prices))
    ]
    assert found
    with pytest.raises(ConfigError, match="requests_kcount"):
        price_of(replace(GPT_4O, price_as=found[0]), NOW)


def test_of_prices_that_change_by_the_hour_the_dearest_is_taken() -> None:
    providers = get_snapshot().providers
    hourly = [
        (provider.id, model)
        for provider in providers
        for model in provider.models
        if isinstance(model.prices, list)
        and any(type(p.constraint).__name__ == "TimeOfDateConstraint" for p in model.prices)
    ]
    assert hourly
    for provider_id, model in hourly:
        price, _ = price_of(replace(GPT_4O, price_as=f"{provider_id}/{model.id}"), NOW)
        for hour in range(24):
            now = NOW.replace(hour=hour)
            theirs = calc_price(
                Usage(input_tokens=10**6, output_tokens=10**6),
                model.id,
                provider_id=provider_id,
                genai_request_timestamp=now,
            )
            assert cost(price, 10**6, 10**6) >= theirs.total_price * 10**9


def test_a_price_begins_on_its_day() -> None:
    changes = [
        (provider.id, model.id, later.constraint.start_date)
        for provider in get_snapshot().providers
        for model in provider.models
        if isinstance(model.prices, list)
        for later in model.prices
        if type(later.constraint).__name__ == "StartDateConstraint" and provider.id == "openrouter"
    ]
    provider_id, model_id, day = next(iter(changes))
    asked = replace(GPT_4O, price_as=f"{provider_id}/{model_id}")
    before = price_of(asked, datetime(day.year - 1, day.month, day.day, tzinfo=UTC))[0]
    after = price_of(asked, datetime(day.year, day.month, day.day, 1, tzinfo=UTC))[0]
    assert before != after


@pytest.mark.slow
def test_our_bill_is_the_lists_own_for_every_model_that_tokens_settle() -> None:
    """Every model of the list, plain and cached, below and above its tiers, to the nanodollar (a few list prices have
    a tail beyond a nanodollar a million, which is rounded off)."""
    compared = 0
    for provider in get_snapshot().providers:
        for model in provider.models:
            standing = model.get_prices(NOW)
            try:
                price, _ = price_of(replace(GPT_4O, price_as=f"{provider.id}/{model.id}"), NOW)
            except ConfigError:
                continue
            if provider.find_model(model.id, all_providers=get_snapshot().providers) is not model or _is_hourly(model):
                continue
            for inputs, cached in ((1_000, 0), (1_000, 400), (300_000, 0), (300_000, 1_000)):
                usage = Usage(
                    input_tokens=inputs, output_tokens=77, **({"cache_read_tokens": cached} if cached else {})
                )
                theirs = standing.calc_price(usage)["total_price"] * 10**9
                ours = cost_with_cache(price, inputs, 77, cached_tokens=cached, written_tokens=0)
                assert -0.01 < ours - theirs < 1.01, (provider.id, model.id, inputs, cached)
                compared += 1
    assert compared > 4_000


def _is_hourly(model: Any) -> bool:
    return isinstance(model.prices, list) and any(
        type(p.constraint).__name__ == "TimeOfDateConstraint" for p in model.prices
    )


def test_the_list_is_read_only_where_a_price_is_left_out() -> None:
    report = (
        "import json, sys\nfrom datetime import UTC, datetime\n"
        "from gateway.billing.price_list import PriceRequest, price_of\n"
        "asked = PriceRequest('a', 'b', 'c', 'http://x', input_usd=1.0, output_usd=1.0)\n"
        "price_of(asked, datetime.now(UTC))\n"
        "print(json.dumps('genai_prices' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False


def test_what_is_not_counted_is_named_as_in_the_list() -> None:
    known = {
        name
        for provider in get_snapshot().providers
        for model in provider.models
        for prices in ([model.prices] if isinstance(model.prices, ModelPrice) else [p.prices for p in model.prices])
        for name in vars(prices)
    }
    assert set(NOT_COUNTED) <= known
