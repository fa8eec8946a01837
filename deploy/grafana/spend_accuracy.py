"""The dashboard of what was paid and what was got for it."""

from __future__ import annotations

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
    named,
    rate,
    score,
    stat,
    thousand,
)


def compared(metric: str, more: str = "", by: str = "") -> str:
    """A number of the comparison; of several gateways their mean."""
    return f'avg{f" by ({by}) " if by else ""}(loupe_{metric}{{tenant="$compared"{more}}})'


def of_range(total: str, count: str, labels: str, fewest: str = "> 0") -> str:
    """Total over count of each tenant and candidate in the time that is shown; without those with fewer."""
    by = "tenant, candidate"
    return f"{increase(total, TENANT, by=by)} / ({increase(count, labels, by=by)} {fewest})"


def either(kind: str) -> str:
    """Candidates alone, and routed."""
    single = named(f'loupe_single_{kind}{{tenant="$compared"}}', "candidate")
    routed = named(f'loupe_policy_{kind}{{tenant="$compared", policy="routed"}}', "policy")
    return f"{single} or {routed}"


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
                    f"1 - {increase('loupe_spend_usd_total', TENANT)}"
                    f" / ({increase('loupe_dearest_usd_total', TENANT)} > 0)",
                    "Against what the same requests were expected to cost at the dearest candidate that could serve.",
                ),
                stat(
                    "Mean score",
                    SHARE,
                    f"{increase('loupe_labelled_score_sum', TENANT)}"
                    f" / ({increase('loupe_labelled_score_count', TENANT)} > 0)",
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
                Panel(
                    "Score: routed, best single, cheapest",
                    "timeseries",
                    SHARE,
                    (Query(compared("policy_score", ', policy!="dearest"', "policy"), "{{policy}}"),),
                    "Of the last day's labelled requests.",
                ),
                Panel(
                    "Cost: routed, best single, cheapest",
                    "timeseries",
                    USD,
                    (Query(THOUSAND + compared("policy_cost_usd", ', policy!="dearest"', "policy"), "{{policy}}"),),
                    "Of the same requests.",
                    axis="USD for 1000 requests",
                ),
                Panel(
                    "P_s, nAUC and QNC",
                    "timeseries",
                    COUNT,
                    (
                        Query(compared("comparison_peak_score"), "P_s"),
                        Query(compared("comparison_nauc"), "nAUC"),
                        Query(compared("comparison_qnc"), "QNC"),
                    ),
                    "Higher is better for P_s and nAUC, lower for QNC, which is missing while no point reaches it.",
                    decimals=3,
                ),
                Panel(
                    "Labelled requests that were compared",
                    "timeseries",
                    COUNT,
                    (
                        Query(compared("comparison_labelled_rows"), "labelled"),
                        Query(compared("comparison_explored_rows"), "of them explored"),
                    ),
                    "How much the comparison rests on; without exploration it rests on forecasts.",
                    min=0,
                ),
            ),
        ),
        Row(
            "Over time",
            (
                Panel(
                    "Cost by tenant",
                    "timeseries",
                    USD,
                    (Query(thousand("tenant"), "{{tenant}}"),),
                    axis="USD for 1000 requests",
                ),
                Panel("Score by tenant", "timeseries", SHARE, (Query(score("tenant"), "{{tenant}}"),), min=0, max=1),
                Panel(
                    "Cost by candidate",
                    "timeseries",
                    USD,
                    (Query(thousand("candidate"), "{{candidate}}"),),
                    axis="USD for 1000 requests",
                    log=True,
                ),
                Panel(
                    "Score by candidate",
                    "timeseries",
                    SHARE,
                    (Query(score("candidate"), "{{candidate}}"),),
                    min=0,
                    max=1,
                ),
                Panel(
                    "Score by modality",
                    "timeseries",
                    SHARE,
                    (Query(score("modality"), "{{modality}}"),),
                    min=0,
                    max=1,
                ),
                Panel(
                    "Share of traffic by candidate",
                    "timeseries",
                    SHARE,
                    (
                        Query(
                            f"{rate('loupe_requests_total', SERVED, by='candidate')}"
                            f" / on () group_left () ({rate('loupe_requests_total', SERVED)} > 0)",
                            "{{candidate}}",
                        ),
                    ),
                    stacked=True,
                    min=0,
                    max=1,
                ),
                Panel(
                    "Saved against the dearest",
                    "timeseries",
                    SHARE,
                    (
                        Query(
                            f"1 - {rate('loupe_spend_usd_total', TENANT, by='tenant')}"
                            f" / ({rate('loupe_dearest_usd_total', TENANT, by='tenant')} > 0)",
                            "{{tenant}}",
                        ),
                    ),
                    max=1,
                ),
                Panel(
                    "Refused",
                    "timeseries",
                    RATE,
                    (Query(f"{rate('loupe_refusals_total', TENANT, by='tenant, code')} > 0", "{{tenant}}: {{code}}"),),
                    "Requests that were refused or failed, by the code the client saw.",
                ),
            ),
        ),
    ),
)
