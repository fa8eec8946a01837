"""The report of the pacing benchmark: its tables, its JSON and its drawing."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median, stdev
from typing import Any

from benchmarks.pacing.policies import Played, Point
from benchmarks.pacing.world import NANO

PACED, GREEDY, FIXED, THRESHOLD, HINDSIGHT = "paced", "greedy", "fixed", "threshold", "hindsight"
RIVALS = (GREEDY, FIXED, THRESHOLD)
LABELS = {
    PACED: "paced",
    GREEDY: "greedy until exhausted",
    FIXED: "fixed lambda of the first day",
    THRESHOLD: "best until 80%, then cheap",
    HINDSIGHT: "one rate, in hindsight",
}


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one policy in one scenario on one table under one seed. `miss` is spend over limit, minus 1."""

    table: str
    scenario: str
    seed: int
    policy: str
    limit_usd: float
    spent_usd: float
    score: float
    refused: int
    cap_violations: int
    solve_us_median: float | None
    solve_us_p99: float | None

    @property
    def miss(self) -> float:
        return self.spent_usd / self.limit_usd - 1


def result(where: tuple[str, str, int], policy: str, played: Played) -> Result:
    """Return the result of a run, for the report."""
    took = sorted(played.solve_us)
    return Result(
        *where,
        policy=policy,
        limit_usd=played.limit / NANO,
        spent_usd=played.spent / NANO,
        score=played.score,
        refused=played.refused,
        cap_violations=played.violations,
        solve_us_median=median(took) if took else None,
        solve_us_p99=took[int(len(took) * 0.99)] if took else None,
    )


def headline(results: Sequence[Result]) -> dict[str, Any]:
    """Return the figures of the main scenario: means over tables and seeds, and the sum of all violations."""
    ours = _of(results, PACED)
    found: dict[str, Any] = {
        "plan_usd": mean(one.limit_usd for one in ours),
        "spent_usd": mean(one.spent_usd for one in ours),
        "score": mean(one.score for one in ours),
        **{f"score_{rival}": mean(one.score for one in _of(results, rival)) for rival in (*RIVALS, HINDSIGHT)},
        "cap_violations": sum(one.cap_violations for one in results),
        "worst_plan_miss": max(abs(one.miss) for one in ours),
        "runs": len(ours),
        "runs_won": sum(_wins(one, results) for one in ours),
    }
    return found


def as_json(facts: Mapping[str, Any], main: Sequence[Result], stress: Sequence[Result]) -> dict[str, Any]:
    """Return the whole run as a JSON object."""
    both = {"results": main, "stress": stress}
    return {
        **headline(main),
        "stress_cap_violations": sum(one.cap_violations for one in stress),
        **facts,
        **{name: [asdict(one) | {"miss": one.miss} for one in found] for name, found in both.items()},
    }


def as_text(results: Sequence[Result]) -> str:
    """Return a line per table, scenario and policy: means over seeds, with standard deviations for several seeds."""
    lines = [f"{'':34}{'spent/plan':>16}{'score':>17}{'refused':>9}{'over cap':>9}{'solve us p50/p99':>18}"]
    for table, scenario in dict.fromkeys((one.table, one.scenario) for one in results):
        group = [one for one in results if (one.table, one.scenario) == (table, scenario)]
        lines.append(f"{table}: {scenario}; plan ${mean(one.limit_usd for one in group):,.2f}")
        for policy in dict.fromkeys(one.policy for one in group):
            lines.append(_line(LABELS[policy], _of(group, policy)))
    return "\n".join(lines)


def drawn(curves: Mapping[str, Mapping[str, Sequence[Point]]], results: Sequence[Result]) -> bytes:
    """Return a PNG with a row per table: spend and plan over time, lambda over time, scores. Needs matplotlib."""
    from matplotlib.figure import Figure  # noqa: PLC0415  an extra, and heavy

    figure = Figure(figsize=(15, 4.4 * len(curves)), dpi=110, layout="constrained")
    figure.suptitle(EVENTS, x=0.01, ha="left", fontsize=10, color="#555555")
    rows = figure.subplots(len(curves), 3, squeeze=False, width_ratios=(5, 4, 3))
    for axes, (table, by_policy) in zip(rows, curves.items(), strict=True):
        _draw_spend(axes[0], table, by_policy)
        _draw_lambda(axes[1], by_policy[PACED])
        _draw_scores(axes[2], [one for one in results if one.table == table])
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


EVENTS = "Dotted: on day 5 traffic doubles; on day 7 the best single candidate's price is half as much again."
_COLOURS = {PACED: "#0072B2", GREEDY: "#D55E00", FIXED: "#E69F00", THRESHOLD: "#009E73", HINDSIGHT: "#777777"}
_DASHES = {PACED: "-", GREEDY: "--", FIXED: "-.", THRESHOLD: ":", HINDSIGHT: (0, (1, 3))}


def _draw_spend(axes: Any, table: str, by_policy: Mapping[str, Sequence[Point]]) -> None:
    limit = by_policy[PACED][-1].plan_usd
    for policy in (GREEDY, FIXED, THRESHOLD, PACED):
        points = by_policy[policy]
        axes.plot(
            [point.day for point in points],
            [point.spent_usd for point in points],
            color=_COLOURS[policy],
            linestyle=_DASHES[policy],
            linewidth=2.4 if policy == PACED else 1.6,
            label=LABELS[policy],
        )
    planned = [point for point in by_policy[PACED] if point.plan_usd is not None]
    axes.plot(
        [point.day for point in planned],
        [point.plan_usd for point in planned],
        color="#000000",
        linewidth=0.8,
        label="plan to date",
    )
    if limit is not None:
        axes.axhline(limit, color="#999999", linewidth=0.8)
    axes.set_title(f"{table}: spend, US$", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    _mark_events(axes)


def _draw_lambda(axes: Any, points: Sequence[Point]) -> None:
    axes.plot([point.day for point in points], [point.price_weight for point in points], color=_COLOURS[PACED])
    axes.set_title("the paced lambda", loc="left")
    axes.set_ylim(bottom=0)
    _mark_events(axes)


def _mark_events(axes: Any) -> None:
    for day in (5, 7):
        axes.axvline(day, color="#BBBBBB", linewidth=0.8, linestyle=":")
    axes.set_xlabel("day")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_scores(axes: Any, results: Sequence[Result]) -> None:
    policies = (PACED, *RIVALS, HINDSIGHT)
    scores = [[one.score for one in _of(results, policy)] for policy in policies]
    bars = axes.barh(
        [LABELS[policy] for policy in policies],
        [mean(found) for found in scores],
        color=[_COLOURS[policy] for policy in policies],
        height=0.6,
    )
    axes.bar_label(bars, labels=[f" {mean(found):.3f}" for found in scores], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, max(map(max, scores)) * 1.18)
    axes.set_title("mean score of all requests", loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _line(label: str, found: Sequence[Result]) -> str:
    spent = _shown([one.spent_usd / one.limit_usd for one in found])
    score = _shown([one.score for one in found])
    took = ""
    if found[0].solve_us_median is not None:
        took = (
            f"{mean(one.solve_us_median or 0 for one in found):.0f}/{mean(one.solve_us_p99 or 0 for one in found):.0f}"
        )
    refused, over = mean(one.refused for one in found), sum(one.cap_violations for one in found)
    return f"  {label:32}{spent:>16}{score:>17}{refused:>9,.0f}{over:>9}{took:>18}"


def _shown(values: Sequence[float]) -> str:
    return f"{mean(values):.4f}" + (f" ±{stdev(values):.4f}" if len(values) > 1 else "")


def _of(results: Sequence[Result], policy: str) -> list[Result]:
    return [one for one in results if one.policy == policy]


def _wins(ours: Result, results: Sequence[Result]) -> bool:
    there = [one for one in results if (one.table, one.seed, one.scenario) == (ours.table, ours.seed, ours.scenario)]
    return all(ours.score > one.score for one in there if one.policy in RIVALS)
