"""The dashboard of the gateway itself: rates, errors, where the time goes, what waits."""

from __future__ import annotations

from panel import (
    COUNT,
    RATE,
    SECONDS,
    SHARE,
    TENANT,
    Board,
    Panel,
    Query,
    Row,
    lines,
    quantile,
    rate,
    rates,
    ratio,
    stat,
)

REQUESTS = rate("loupe_requests_total", TENANT)
FAILED = rate("loupe_requests_total", f'{TENANT}, outcome="failed"')
CACHED = rate("loupe_encoder_cache_hits_total")
ENCODED = rate("loupe_encoder_cache_misses_total")
LOST = ("loupe_log_lines_lost_total", "loupe_decisions_lost_total", "loupe_content_lost_total")
QUEUES = (
    ("loupe_requests_in_flight", "requests"),
    ("loupe_encoder_waiting", "to be encoded"),
    ("loupe_decision_queue", "decisions"),
    ("loupe_log_queue", "log lines"),
)


def of_all(metric: str, labels: str = "") -> tuple[tuple[str, str], ...]:
    """Three quantiles' queries and legends."""
    return tuple(
        (quantile(share, metric, labels), name) for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    )


HEALTH = Board(
    "loupe-health",
    "Loupe: gateway health",
    "Rates, errors, the stages of a request, what routing declined, what waits and what was lost.",
    (("tenant", "label_values(loupe_requests_total, tenant)", True),),
    (
        Row(
            "Now",
            (
                stat("Requests", RATE, REQUESTS, "Finished, of the chosen tenants."),
                stat(
                    "Failed",
                    SHARE,
                    f"({FAILED} or on () vector(0)) / on () ({REQUESTS} > 0)",
                    "By our or a provider's fault.",
                ),
                stat("Under way", COUNT, "sum(loupe_requests_in_flight)", "Requests.", decimals=0),
                stat("Workers", COUNT, "sum(loupe_workers)", "Processes that serve.", decimals=0),
                stat(
                    "Overhead, p95", SECONDS, quantile(0.95, "loupe_overhead_seconds"), "Time that Loupe itself adds."
                ),
                stat(
                    "Event loop lag, p99",
                    SECONDS,
                    quantile(0.99, "loupe_event_loop_lag_seconds"),
                    "How late the loop comes back: something heavy runs on it.",
                ),
            ),
        ),
        Row(
            "Rates and errors",
            (
                rates("Requests by outcome", "loupe_requests_total", "outcome", labels=TENANT, stacked=True),
                rates("Refused or failed", "loupe_refusals_total", "code", labels=TENANT),
                rates(
                    "Attempts that failed",
                    "loupe_failed_attempts_total",
                    "candidate, reason",
                    "{{candidate}}: {{reason}}",
                ),
                rates(
                    "Fallbacks",
                    "loupe_fallbacks_total",
                    "candidate",
                    "served by {{candidate}}",
                    text="Requests that another candidate served after the first had failed.",
                ),
                rates(
                    "Routing declined",
                    "loupe_declines_total",
                    "reason",
                    text="Served in the tenant's own order, because there was no forecast.",
                ),
                rates("Errors inside", "loupe_internal_errors_total", "where", text="No request failed of them."),
            ),
        ),
        Row(
            "Where the time goes",
            (
                lines("Whole request", SECONDS, *of_all("loupe_stage_seconds", 'stage="total"'), log=True),
                lines("First byte", SECONDS, *of_all("loupe_stage_seconds", 'stage="first_byte"'), log=True),
                lines(
                    "Overhead",
                    SECONDS,
                    *of_all("loupe_overhead_seconds"),
                    text="All but waiting for the provider.",
                    log=True,
                ),
                lines(
                    "Stages, p95",
                    SECONDS,
                    (
                        quantile(0.95, "loupe_stage_seconds", 'stage!~"total|first_byte"', by="stage"),
                        "{{stage}}",
                    ),
                    log=True,
                ),
                lines("Event loop lag", SECONDS, *of_all("loupe_event_loop_lag_seconds"), log=True),
                lines("What waits", COUNT, *((f"sum({metric})", name) for metric, name in QUEUES), min=0),
            ),
        ),
        Row(
            "Encoder and router",
            (
                lines(
                    "Found in the encoder's cache",
                    SHARE,
                    (f"{CACHED} / ({CACHED} + {ENCODED} > 0)", "share"),
                    min=0,
                    max=1,
                ),
                lines(
                    "Texts or images in a batch",
                    COUNT,
                    (ratio(rate("loupe_encoder_batch_size_sum"), rate("loupe_encoder_batch_size_count")), "mean"),
                    min=0,
                ),
                lines(
                    "Billed over estimated cost",
                    SHARE,
                    ("avg by (candidate) (loupe_estimate_ratio)", "{{candidate}}"),
                    text="Of about the last hundred replies; far from 100% a price or a tokenizer is wrong.",
                ),
                rates(
                    "Replies that Loupe metered",
                    "loupe_metered_replies_total",
                    "candidate",
                    text="Their provider sent no usage.",
                ),
                Panel(
                    "Routers in service",
                    "table",
                    COUNT,
                    (Query("sum by (digest) (loupe_router_info)", "{{digest}}"),),
                    height=6,
                ),
                lines(
                    "Lost",
                    RATE,
                    *((rate(metric), metric.removesuffix("_total")) for metric in LOST),
                    text="To a full queue or a full disk.",
                    min=0,
                    height=6,
                ),
            ),
        ),
    ),
)
