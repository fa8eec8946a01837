"""The codes of Loupe's own errors, which may be metric labels. Codes that a provider makes up are not among them."""

from __future__ import annotations

CODES = frozenset(
    {
        "body_too_large",
        "broke_off",
        "budget_infeasible",
        "error_event",
        "idle_timeout",
        "image_timeout",
        "image_too_large",
        "image_type_unsupported",
        "image_unreachable",
        "image_url_forbidden",
        "insufficient_quota",
        "internal_error",
        "invalid_api_key",
        "expired_api_key",
        "file_too_large",
        "invalid_budget",
        "invalid_image",
        "invalid_image_url",
        "invalid_json",
        "invalid_quality_weight",
        "invalid_request_error",
        "missing_required_parameter",
        "model_not_found",
        "no_capable_candidate",
        "provider_failed",
        "provider_rate_limited",
        "rate_limit_exceeded",
        "store_unavailable",
        "too_many_images",
        "total_timeout",
        "unsupported_content_part",
    }
)
"""Codes that may be label values; codes that a provider makes up are counted as `provider_refused`."""
