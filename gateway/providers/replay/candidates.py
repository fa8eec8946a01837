"""The demo's simulated candidates: real names, real list prices, real mean scores; no model is behind them.

Provenance, per candidate:
* `means`: the share of right answers on the nearest subject of the two public outcome tables. Charts and tables:
  DynaMath, statistics (890 questions); receipts: DynaMath, arithmetic (160); geometry: DynaMath, plane geometry
  (530); counting: "Vision language models are blind", counting circles (686). The latter was answered by three of
  these candidates only: the others' counting is DynaMath, scientific figure (320).
* prices: list prices, in USD per million tokens.
* `typical_tokens`: median output tokens, for reasoning and for counting, as in the tables' simulated token columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.billing.image_tokens import image_token_formula
from gateway.billing.money import from_usd
from gateway.billing.price import Price

COUNTING = "counting"


@dataclass(frozen=True, slots=True)
class DemoCandidate:
    """One simulated candidate. Prices in USD per million tokens, as they go into the configuration."""

    name: str
    input_usd: str
    output_usd: str
    image_tokens: str
    context_tokens: int
    typical_tokens: tuple[int, int]
    means: Mapping[str, float]

    def price(self) -> Price:
        return Price(from_usd(self.input_usd), from_usd(self.output_usd))

    def image_input_tokens(self, width: int, height: int) -> int:
        return image_token_formula(self.image_tokens)(width, height, "auto")

    def median_tokens(self, family: str) -> int:
        reasoning, counting = self.typical_tokens
        return counting if family == COUNTING else reasoning


def _means(statistics: float, arithmetic: float, geometry: float, counting: float) -> Mapping[str, float]:
    return {
        "charts": statistics,
        "tables": statistics,
        "receipts": arithmetic,
        "geometry": geometry,
        COUNTING: counting,
    }


CANDIDATES: tuple[DemoCandidate, ...] = (
    DemoCandidate("LLaVA-1.5-7B", "0.08", "0.10", "flat:576", 4_096, (90, 10), _means(0.176, 0.031, 0.113, 0.212)),
    DemoCandidate("Qwen2-VL-7B", "0.10", "0.15", "qwen_patches", 32_768, (229, 25), _means(0.524, 0.362, 0.466, 0.388)),
    DemoCandidate(
        "InternVL2-8B", "0.10", "0.15", "internvl_tiles", 8_192, (228, 25), _means(0.465, 0.331, 0.404, 0.388)
    ),
    DemoCandidate(
        "Qwen2-VL-72B", "0.55", "0.80", "qwen_patches", 32_768, (314, 34), _means(0.689, 0.475, 0.513, 0.541)
    ),
    DemoCandidate(
        "InternVL2-76B", "0.60", "0.85", "internvl_tiles", 8_192, (298, 33), _means(0.649, 0.475, 0.511, 0.534)
    ),
    DemoCandidate(
        "Gemini-1.5-Pro", "1.25", "5.00", "gemini_tiles", 1_000_000, (256, 22), _means(0.683, 0.419, 0.592, 0.227)
    ),
    DemoCandidate("GPT-4o", "2.50", "10.00", "openai_tiles", 128_000, (298, 28), _means(0.684, 0.537, 0.623, 0.277)),
    DemoCandidate(
        "Claude-3.5-Sonnet", "3.00", "15.00", "anthropic_area", 200_000, (287, 45), _means(0.789, 0.562, 0.568, 0.742)
    ),
)
