"""The dashboard of what was paid and what was got for it."""

from __future__ import annotations

from collections.abc import Callable

from panel import (
    COUNT,
    RATE,
    SERVED,
    SHARE,
    TENANT,
    THOUSAND,
    USD,
    Board,
    Panel,
    Query,
    Row,
    increase,
    lines,
    mean,
    named,
    rate,
    ratio,
    score,
    stat,
    thousand,
)


def compared(metric: str, more: str = "", by: str = "") -> str:
    """A number of the comparison; of several gateways their mean."""
    return mean(f"loupe_{metric}", f'tenant="$compared"{more}', by=by)


def of_range(total: str, count: str, labels: str, fewest: str = "> 0") -> str:
    """Total over count of each tenant and candidate in the time that is shown; without those with fewer."""
    by = "tenant, candidate"
    return f"{increase(total, TENANT, by=by)} / ({increase(count, labels, by=by)} {fewest})"


def either(kind: str) -> str:
    """Candidates alone, and routed."""
    single = named(f'loupe_single_{kind}{{tenant="$compared"}}', "candidate")
    routed = named(f'loupe_policy_{kind}{{tenant="$compared", policy="routed"}}', "policy")
    return f"{single} or {routed}"


def saved(counted: Callable[..., str], by: str = "") -> str:
    """What was not paid of what the dearest candidates would have cost: `counted` is `rate` or `increase`."""
    spend, dearest = (counted(f"loupe_{name}_usd_total", TENANT, by=by) for name in ("spend", "dearest"))
    return f"1 - {ratio(spend, dearest)}"


SPEND_ACCURACY = Board(
    "loupe-spend-accuracy",
    "Loupe: spend vs accuracy",
    "What was paid, what was got for it, and what one candidate alone would have given.",
    (
        ("tenant", "label_values(loupe_requests_total, tenant)", True),
        ("compared", "label_values(loupe_policy_score, tenant)", False),
    ),
    (
        Row(
            "In the time shown",
            (
                stat("Spend", USD, increase("loupe_spend_usd_total", TENANT), "Settled.", decimals=4),
                stat(
                    "Saved against the dearest",
                    SHARE,
                    saved(increase),
                    "Against what the same requests were expected to cost at the dearest candidate that could serve.",
                ),
                stat(
                    "Mean score",
                    SHARE,
                    score(counted=increase),
                    "Of the answers that were given a score.",
                ),
                stat("P_s", SHARE, compared("comparison_peak_score"), "Peak score of the frontier."),
                stat(
                    "nAUC",
                    COUNT,
                    compared("comparison_nauc"),
                    "Area under the frontier of cost and score.",
                    decimals=3,
                ),
                stat(
                    "QNC",
                    COUNT,
                    compared("comparison_qnc"),
                    "Cost of reaching the best single's score, over that single's cost; less is better.",
                    decimals=3,
                    no_value="not reached",
                ),
            ),
        ),
        Row(
            "Cost against score",
            (
                Panel(
                    "By tenant and candidate",
                    "xychart",
                    SHARE,
                    (
                        Query(
                            named(
                                THOUSAND + of_range("loupe_spend_usd_total", "loupe_requests_total", SERVED),
                                "tenant",
                                "candidate",
                            ),
                            "USD for 1000 requests",
                        ),
                        Query(
                            named(
                                of_range("loupe_labelled_score_sum", "loupe_labelled_score_count", TENANT, ">= 5"),
                                "tenant",
                                "candidate",
                            ),
                            "Mean score",
                        ),
                    ),
                    "Each tenant's requests by the candidate that served them; of five labels or more.",
                    height=11,
                ),
                Panel(
                    "Routed, and each candidate alone",
                    "xychart",
                    SHARE,
                    (
                        Query(f"{THOUSAND}({either('cost_usd')})", "USD for 1000 requests"),
                        Query(either("score"), "Mean score"),
                    ),
                    "The last day's labelled requests; up and to the left is better.",
                    height=11,
                ),
                lines(
                    "Score: routed, best single, cheapest",
                    SHARE,
                    (compared("policy_score", ', policy!="dearest"', "policy"), "{{policy}}"),
                    text="Of the last day's labelled requests.",
                ),
                lines(
                    "Cost: routed, best single, cheapest",
                    USD,
                    (THOUSAND + compared("policy_cost_usd", ', policy!="dearest"', "policy"), "{{policy}}"),
                    text="Of the same requests.",
                    axis="USD for 1000 requests",
                ),
                lines(
                    "P_s, nAUC and QNC",
                    COUNT,
                    (compared("comparison_peak_score"), "P_s"),
                    (compared("comparison_nauc"), "nAUC"),
                    (compared("comparison_qnc"), "QNC"),
                    text="Higher is better for P_s and nAUC, lower for QNC, "
                    "which is missing while no point reaches it.",
                    decimals=3,
                ),
                lines(
                    "Labelled requests that were compared",
                    COUNT,
                    (compared("comparison_labelled_rows"), "labelled"),
                    (compared("comparison_explored_rows"), "of them explored"),
                    text="How much the comparison rests on; without exploration it rests on forecasts.",
                    min=0,
                ),
            ),
        ),
        Row(
            "Over time",
            (
                lines("Cost by tenant", USD, (thousand("tenant"), "{{tenant}}"), axis="USD for 1000 requests"),
                lines("Score by tenant", SHARE, (score("tenant"), "{{tenant}}"), min=0, max=1),
                lines(
                    "Cost by candidate",
                    USD,
                    (thousand("candidate"), "{{candidate}}"),
                    axis="USD for 1000 requests",
                    log=True,
                ),
                lines("Score by candidate", SHARE, (score("candidate"), "{{candidate}}"), min=0, max=1),
                lines("Score by modality", SHARE, (score("modality"), "{{modality}}"), min=0, max=1),
                lines(
                    "Share of traffic by candidate",
                    SHARE,
                    (
                        f"{rate('loupe_requests_total', SERVED, by='candidate')}"
                        f" / on () group_left () ({rate('loupe_requests_total', SERVED)} > 0)",
                        "{{candidate}}",
                    ),
                    stacked=True,
                    min=0,
                    max=1,
                ),
                lines("Saved against the dearest", SHARE, (saved(rate, "tenant"), "{{tenant}}"), max=1),
                lines(
                    "Refused",
                    RATE,
                    (f"{rate('loupe_refusals_total', TENANT, by='tenant, code')} > 0", "{{tenant}}: {{code}}"),
                    text="Requests that were refused or failed, by the code the client saw.",
                ),
            ),
        ),
    ),
)
