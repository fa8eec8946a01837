"""The dashboard of tenants' budgets: what is left, how fast it goes, and what is done about it."""

from __future__ import annotations

from panel import COUNT, RATE, SECONDS, SHARE, TENANT, USD, Board, Panel, Query, Row, lines, mean, rate, ratio, stat

MONEY = f'{TENANT}, unit="usd"'
HARD = f'{MONEY}, enforced="hard", window!~"key/.+"'
"""Not those of keys: what a key spends, its tenant's windows count too."""
OTHERS = f'{TENANT}, unit!="usd"'
WHICH = "{{tenant}} {{window}}"
SHORT = f'{TENANT}, code=~"insufficient_quota|budget_infeasible|rate_limit_exceeded"'


def windows(part: str, labels: str, by: str = "tenant, window, unit, enforced") -> str:
    """Of every window; gateways that share a ledger all tell of the same."""
    return f"max by ({by}) (loupe_{part}{{{labels}}})"


def paced(part: str, says: str) -> tuple[str, str]:
    """Of every window that is paced: the query, and its legend."""
    return windows(f"pacing_{part}", TENANT, "tenant, window"), f"{WHICH}{says}"


BURN = rate("loupe_spend_usd_total", TENANT, by="tenant")

BUDGETS = Board(
    "loupe-budgets",
    "Loupe: budgets",
    "Every tenant's windows, and its keys': spend, holds, plan, burn, what remains, and when it will be gone.",
    (("tenant", "label_values(loupe_budget_limit, tenant)", True),),
    (
        Row(
            "Now",
            (
                stat("Spent", USD, f"sum({windows('budget_spent', HARD)})", "Of tenants' hard windows.", width=6),
                stat("Held", USD, f"sum({windows('budget_held', HARD)})", "By requests under way.", width=6),
                stat("Remaining", USD, f"sum({windows('budget_remaining', HARD)})", "Of the same windows.", width=6),
                stat("Burn an hour", USD, f"3600 * {rate('loupe_spend_usd_total', TENANT)}", "All spend.", width=6),
                Panel(
                    "Left of each window of money",
                    "bargauge",
                    SHARE,
                    (Query(ratio(windows("budget_remaining", MONEY), windows("budget_limit", MONEY)), WHICH),),
                    color="continuous-RdYlGr",
                    min=0,
                    max=1,
                ),
                Panel(
                    "Used of windows of requests and tokens",
                    "bargauge",
                    SHARE,
                    (
                        Query(
                            ratio(
                                f"({windows('budget_spent', OTHERS)} + {windows('budget_held', OTHERS)})",
                                windows("budget_limit", OTHERS),
                            ),
                            "{{tenant}} {{unit}} a {{window}}",
                        ),
                    ),
                    color="continuous-GrYlRd",
                    min=0,
                    max=1,
                ),
            ),
        ),
        Row(
            "Over time",
            (
                lines("Spent", USD, (windows("budget_spent", MONEY), WHICH), min=0),
                lines("Remaining", USD, (windows("budget_remaining", MONEY), WHICH), min=0),
                lines("Held", USD, (windows("budget_held", MONEY), WHICH), text="By requests under way.", min=0),
                lines(
                    "Burn",
                    USD,
                    (f"3600 * {BURN}", "{{tenant}}"),
                    paced("burn_usd_per_hour", ", last hour"),
                    axis="USD an hour",
                    min=0,
                ),
                lines(
                    "Plan and spend",
                    USD,
                    paced("plan_usd", " plan"),
                    paced("spent_usd", " spent"),
                    text="What was meant to be spent of a paced window by now, and what was.",
                    min=0,
                ),
                lines(
                    "Lambda",
                    COUNT,
                    (mean("loupe_lambda", TENANT, by="tenant"), "{{tenant}}"),
                    paced("lambda", " asks"),
                    text="How much a reference cost weighs against quality: the higher, the cheaper the candidates.",
                ),
                lines(
                    "Projected exhaustion",
                    SECONDS,
                    (f"{windows('budget_remaining', HARD)} / on (tenant) group_left () ({BURN} > 0)", WHICH),
                    paced("exhausted_in_seconds", ", by pacing"),
                    text="Until a window's money is gone at this burn, if it does not start over before.",
                    log=True,
                ),
                lines(
                    "Refused: no budget left",
                    RATE,
                    (rate("loupe_refusals_total", SHORT, by="code"), "{{code}}"),
                    (rate("loupe_soft_exceeded_total", TENANT, by="tenant"), "{{tenant}} over a soft budget"),
                ),
            ),
        ),
    ),
)
