"""The rules of trying on: which choice may be tried after the attempts of a request so far.

A refusal costs nothing and says something of one candidate only, so it never ends a request by itself: another
candidate may have a larger context, another filter or other parameters. An attempt that failed in another way may have
cost time and money, and counts towards `max_attempts`.
"""

from __future__ import annotations

from gateway.errors import ProviderError
from gateway.routing.decision import Assessment

MAX_REFUSALS = 8
"""Refusals after which no further candidate is asked."""
ATTEMPTS_WITHIN_S = 600.0
"""Seconds after which no further attempt is begun."""
RETRIES_OF_PINNED = 2
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 20.0
"""Seconds that the next attempt at a candidate that the client named may be put off. A longer wait is the client's."""
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 529})
UNSENT = frozenset({"connection_failed", "connect_timeout"})
TOLD = frozenset({"error_body", "error_event"})
"""Reasons of an error that the provider told within a reply of status 200."""


class Failover:
    """The failed attempts of one request, and what they allow."""

    __slots__ = ("_agreed", "_max_attempts", "_refusals", "_seen", "_too_short", "failures")

    def __init__(self, max_attempts: int) -> None:
        self.failures: list[ProviderError] = []
        self._max_attempts = max_attempts
        self._refusals = 0
        self._too_short: list[int] = []
        """The contexts of the candidates for which the prompt was too long."""
        self._agreed = False
        self._seen: list[tuple[str, frozenset[str]]] = []
        """Of each refusal that blames the request: the provider, and the names of its reason."""

    def failed(self, choice: Assessment, error: ProviderError) -> None:
        """Note a failed attempt."""
        self.failures.append(error)
        if error.fault is None or error.fault == "overloaded":
            return
        self._refusals += 1
        if error.fault == "context_length":
            self._too_short.append(choice.candidate.context_tokens)
        elif error.blames_request and error.fault != "too_large":
            refused = choice.candidate.provider, _reasons(error)
            self._agreed = self._agreed or any(_agree(refused, other) for other in self._seen)
            self._seen.append(refused)

    @property
    def is_over(self) -> bool:
        """True if no candidate may be tried any more: two agree, or as many were tried as may be."""
        tries = len(self.failures) - self._refusals
        return self._agreed or tries >= self._max_attempts or self._refusals >= MAX_REFUSALS

    def passes_by(self, choice: Assessment) -> bool:
        """Return whether this choice would refuse too: the prompt was too long for a larger context, or twice for as
        large a one (once proves little, because the contexts are what the operator declared).
        """
        own = choice.candidate.context_tokens
        return any(own < refused for refused in self._too_short) or self._too_short.count(own) > 1

    def pinned_wait_s(self, spread: float) -> float | None:
        """Return the seconds until the candidate that failed last may be asked again; None if it may not.

        Only a request that the provider cannot have processed is sent to it again. `spread` is a draw from 0 to 1, by
        which retries of requests that failed together do not come together.
        """
        last = self.failures[-1]
        retries = len(self.failures) - 1
        is_unsent = last.reason in UNSENT and not last.reached
        is_passing = last.status in RETRIED_STATUSES or last.reason in TOLD
        if retries >= RETRIES_OF_PINNED or not (
            is_unsent or (is_passing and last.fault in ("rate_limit", "overloaded"))
        ):
            return None
        wait = FIRST_RETRY_S * 2**retries * (0.5 + spread / 2)
        if last.retry_after_s is not None:
            wait = max(wait, last.retry_after_s)
        return wait if wait <= LONGEST_RETRY_S else None


def _reasons(error: ProviderError) -> frozenset[str]:
    """Return the names of a refusal's reason: its fault where that says enough, its parameter and its words."""
    names = {"content_filter"} if error.fault == "content_filter" else set()
    if error.param:
        names.add(f"param {error.param}")
    if error.said:
        names.add(f"said {error.said.lower()}")
    return frozenset(names)


def _agree(one: tuple[str, frozenset[str]], other: tuple[str, frozenset[str]]) -> bool:
    """Return whether two refusals have the same reason. Two candidates of one provider share its filters and rules, so
    that they agree only in the very words.
    """
    shared = one[1] & other[1]
    return any(one[0] != other[0] or name.startswith("said ") for name in shared)
