"""Count simulated `X-Budget` decisions that could bill more than their cap in the worst case. The count must be 0.

    python -m benchmarks.ledger.caps --decisions 1000000 --json caps.json

Every decision has a catalog, prices (free prices, tiers, caches), a text, images, a cap, choices and forecasts drawn
at random. The worst case is computed here, independent of `gateway.billing.price`, at the output limit that would be
sent: with the whole reservation granted, and with any part of it that the budget may leave. In the worst case, the text
and the images take their largest numbers of tokens, the whole input is written to the provider's cache, and all n
replies run into their limit.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common.result import command_of, write_json
from gateway.billing.image_tokens import IMAGE_TOKENS
from gateway.billing.price import Price, Tier
from gateway.billing.text_tokens import TOKENIZERS, TextShape, shape_of
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.decision import (
    OVER_CAP,
    Assessment,
    CandidateForecast,
    Preference,
    decide,
    fit_to_hold,
    price_weight_of,
)
from gateway.routing.query import Query, QueryImage
from routers.evaluation.reports.versions import package_versions

BLOCK = 10_000
CATALOGS = 50
SIZES = ((224, 224), (640, 480), (1024, 1024), (1024, 768), (1920, 1080), (4032, 3024), (1, 5_000), (9_000, 40))
TEXTS = (
    "What is the total in the last row of this table? Explain it briefly. ",
    "请看这张图表,说明第三季度的收入比第二季度增加了多少。",
    'def total(rows):\n    return sum(row["amount"] for row in rows)\n',
    "QWERTY! 12.75, Ünïcödé 🎉 \u0344",
)
NANODOLLARS = 1_000_000_000


@dataclass(slots=True)
class Found:
    """The counts of a simulation, and every decision whose worst case is over its cap."""

    counts: Counter[str] = field(default_factory=Counter)
    over: list[dict[str, Any]] = field(default_factory=list)
    tightest: float = 0.0
    """The greatest share of its cap that a worst case took."""


def simulate(decisions: int, seed: int) -> list[Found]:
    """Run blocks of decisions, each from its own seed."""
    sizes = [BLOCK] * (decisions // BLOCK) + [decisions % BLOCK] * bool(decisions % BLOCK)
    return [block(size, seed + number) for number, size in enumerate(sizes)]


def block(decisions: int, seed: int) -> Found:
    """Run a number of decisions over CATALOGS catalogs."""
    drawn, found = random.Random(seed), Found()
    catalogs = [catalog(drawn) for _ in range(CATALOGS)]
    shapes = [shape_of([text * drawn.randint(1, 40)]) for text in TEXTS for _ in range(8)]
    for number in range(decisions):
        one(drawn, catalogs[number % CATALOGS], drawn.choice(shapes), found)
    return found


def one(drawn: random.Random, candidates: Catalog, shape: TextShape, found: Found) -> None:
    """Draw a request and its forecasts, decide, and check every choice against the cap."""
    query = a_query(drawn, shape)
    cap = round(10 ** drawn.uniform(-6, 0.3) * NANODOLLARS) if drawn.random() > 0.02 else 0
    factors = {c.name: drawn.uniform(0.25, 4) for c in candidates} if drawn.random() < 0.5 else None
    resting = drawn.choice("abcdefgh") if drawn.random() < 0.1 else ""
    decision = decide(
        query,
        tuple(candidates),
        forecasts(drawn, candidates) if drawn.random() < 0.9 else None,
        Preference(price_weight_of(drawn.random()), cap, drawn.choice(("refuse", "refuse", "cheapest")), factors),
        reference_cost=candidates.reference_cost,
        is_healthy=lambda name: name != resting,
    )
    found.counts["decisions"] += 1
    found.counts["served" if decision.choices else "refused"] += 1
    if not decision.choices and any(row.dropped == OVER_CAP for row in decision.dropped):
        found.counts["refused_for_the_cap"] += 1
    for row in decision.choices:
        least = min(
            row.min_budget, row.max_cost
        )  # where the cap cuts a choice's reply short, its least budget is over the cap
        granted = least + round((row.max_cost - least) * drawn.random())
        hold_against(row, query, row.output_limit, cap, found)
        hold_against(row, query, fit_to_hold(row, query, granted), granted, found)


def hold_against(row: Assessment, query: Query, limit: int, most: int, found: Found) -> None:
    """Note a choice whose worst case at this limit is over `most` nanodollars."""
    worst = worst_case(row.candidate, query, limit)
    found.counts["limits_checked"] += 1
    found.tightest = max(found.tightest, worst / most if most else float(worst > 0))
    if worst > most:
        found.over.append({"price": repr(row.candidate.price), "worst": worst, "most": most, "limit": limit})


def worst_case(candidate: Candidate, query: Query, limit: int) -> int:
    """Return the most nanodollars a provider could bill, at any tier the input may reach, plain or written to cache."""
    assert query.shape is not None
    inputs = candidate.tokenizer.ceiling(query.shape) + 16 * query.messages + 64 + 1_024 * query.uses_tools
    inputs += sum(candidate.image_tokens(image.width, image.height, image.detail) for image in query.images)
    reached = [candidate.price]
    reached += [tier.price for tier in candidate.price.tiers if inputs > tier.above_input_tokens]
    amounts = []
    for price in reached:
        per_input = price.input_per_million
        if query.writes_cache and price.cache_write_per_million is not None:
            per_input = max(per_input, price.cache_write_per_million)
        amounts.append(per_input * inputs + price.output_per_million * limit * query.choices)
    return -(-max(amounts) // 1_000_000)


def a_query(drawn: random.Random, shape: TextShape) -> Query:
    sizes = [drawn.choice(SIZES) for _ in range(drawn.choice((0, 0, 1, 1, 2, 5)))]
    images = tuple(QueryImage(w, h, drawn.choice(("auto", "low", "high")), b"") for w, h in sizes)
    return Query(
        text="",
        prompt_bytes=shape.most_bytes,
        messages=drawn.randint(1, 8),
        images=images,
        choices=drawn.choice((1, 1, 1, 2, 5)),
        max_output_tokens=drawn.choice((None, None, 1, 100, 2_000, 100_000)),
        uses_tools=drawn.random() < 0.2,
        writes_cache=drawn.random() < 0.2,
        shape=shape,
    )


def catalog(drawn: random.Random) -> Catalog:
    return Catalog(tuple(a_candidate(drawn, name) for name in "abcdefgh"[: drawn.randint(1, 8)]))


def a_candidate(drawn: random.Random, name: str) -> Candidate:
    return Candidate(
        name,
        "p",
        name,
        a_price(drawn),
        IMAGE_TOKENS[drawn.choice(sorted(IMAGE_TOKENS))],
        name,
        context_tokens=drawn.choice((4_096, 32_768, 200_000, 1_000_000)),
        max_output_tokens=drawn.choice((256, 4_096, 65_536)),
        sees_images=drawn.random() < 0.9,
        calls_tools=drawn.random() < 0.9,
        reasoning_tokens=drawn.choice(((0, 0), (0, 0), (1_000, 2_300))),
        tokenizer=TOKENIZERS[drawn.choice(sorted(TOKENIZERS))],
    )


def a_price(drawn: random.Random) -> Price:
    if drawn.random() < 0.05:
        return Price(0, 0)
    inputs, outputs = (round(10 ** drawn.uniform(7, 10.8)) for _ in range(2))
    cached = round(inputs * drawn.random()) if drawn.random() < 0.5 else None
    written = round(inputs * drawn.uniform(0.5, 2)) if drawn.random() < 0.3 else None
    tiers: list[Tier] = []
    for above in (1_000, 50_000)[: drawn.choice((0, 0, 0, 1, 2))]:
        times = 2 * (len(tiers) + 1)
        tier = Price(inputs * times, outputs * times, cached, None if written is None else written * times)
        tiers.append(Tier(above, tier))
    return Price(inputs, outputs, cached, written, tuple(tiers))


def forecasts(drawn: random.Random, candidates: Catalog) -> dict[str, CandidateForecast]:
    found = {}
    for candidate in candidates:
        tokens = drawn.lognormvariate(5, 1.2)
        found[candidate.name] = CandidateForecast(drawn.random(), 0.1, tokens, tokens * drawn.uniform(1, 4))
    return found


def report(found: list[Found], seed: int) -> dict[str, Any]:
    """Return the result as it is written to `--json`; `spread` is over the blocks."""
    counts = sum((each.counts for each in found), Counter[str]())
    served = [each.counts["served"] / each.counts["decisions"] for each in found]
    return {
        "command": command_of("ledger.caps"),
        "versions": package_versions(["loupe"]),
        "seed": seed,
        **counts,
        "over_cap": sum(len(each.over) for each in found),
        "examples": [example for each in found for example in each.over][:5],
        "tightest": max(each.tightest for each in found),
        "spread": {"served_share": [min(served), max(served)]},
    }


def main() -> int:
    """Simulate, print, and write the result if asked. Returns 1 when a decision could bill more than its cap."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--decisions", type=int, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=20_261)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    began = time.perf_counter()
    result = report(simulate(arguments.decisions, arguments.seed), arguments.seed)
    result["took_s"] = round(time.perf_counter() - began, 1)
    for name, value in result.items():
        print(f"{name}: {value}")
    write_json(arguments.json, result)
    return int(result["over_cap"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
