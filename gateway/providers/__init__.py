"""Outbound calls to candidates. Rule: this package knows HTTP and one candidate at a time; it knows no tenant and no
budget.

To add a kind of provider, write one file and add one line to `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.providers.base import Endpoint, Provider
from gateway.providers.openai import OpenAIProvider

KINDS: dict[str, Callable[[Endpoint], Provider]] = {"openai": OpenAIProvider}
"""A mapping from `providers.<name>.kind` of the configuration to what makes a provider of that kind, inside a running
loop.
"""


def provider_at(endpoint: Endpoint) -> Provider:
    """Make the provider of this endpoint. Raises ConfigError for a URL or a header that cannot be sent."""
    return KINDS[endpoint.kind](endpoint)
