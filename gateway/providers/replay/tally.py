"""Exact counts of what the pool served, to compare with the gateway's ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

LOG_ENTRIES = 2_000
SECRET_HEADERS = frozenset({b"authorization", b"api-key", b"x-api-key", b"cookie"})


@dataclass(slots=True)
class ReplayTally:
    """Counts of one candidate. `requests` is the sum of the next four counters; tokens are the billed ones.

    Attributes:
        completed: sent to the end.
        cancelled: the client left before the end; the prompt and the tokens sent until then are billed.
        broken: cut midway by an injected fault. For a stream the prompt and the tokens sent are billed. A whole
            body is billed completely, because it was written before it was lost.
        failed: refused or failed before the first byte; nothing is billed.
    """

    requests: int = 0
    completed: int = 0
    cancelled: int = 0
    broken: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """A request that has ended. `limit` is its `max_tokens`; `end` is the name of its counter in `ReplayTally`."""

    model: str
    status: int
    end: str
    stream: bool
    limit: int | None
    prompt_tokens: int
    completion_tokens: int
    headers: Iterable[tuple[bytes, bytes]]

    def as_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON: header names in lower case, without headers that hold secrets."""
        return {
            "model": self.model,
            "status": self.status,
            "end": self.end,
            "cancelled": self.end == "cancelled",
            "stream": self.stream,
            "limit": self.limit,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "headers": {
                name.lower().decode("latin-1"): value.decode("latin-1")
                for name, value in self.headers
                if name.lower() not in SECRET_HEADERS
            },
        }


class Counts:
    """The tallies per candidate, and the last requests."""

    def __init__(self, candidates: Iterable[str]) -> None:
        self.tallies = {name: ReplayTally() for name in candidates}
        self.log: deque[ServedRequest] = deque(maxlen=LOG_ENTRIES)

    def add(self, served: ServedRequest) -> None:
        """Count one request, once, when it has ended."""
        tally = self.tallies[served.model]
        tally.requests += 1
        setattr(tally, served.end, getattr(tally, served.end) + 1)
        tally.prompt_tokens += served.prompt_tokens
        tally.completion_tokens += served.completion_tokens
        self.log.append(served)

    def as_dict(self, log: int = 0) -> dict[str, Any]:
        """Return `candidates`: name -> counts; if `log` is positive, also `log`: the last requests, oldest first."""
        counts: dict[str, Any] = {name: asdict(tally) for name, tally in self.tallies.items()}
        if log <= 0:
            return {"candidates": counts}
        return {"candidates": counts, "log": [served.as_dict() for served in list(self.log)[-log:]]}
