"""What the pool served, exactly: the other side of the gateway's ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

LOG_ENTRIES = 2_000
SECRET_HEADERS = frozenset({b"authorization", b"api-key", b"x-api-key", b"cookie"})


@dataclass(slots=True)
class ReplayTally:
    """Counts of one candidate. `requests` is the sum of the next four; tokens are those that are billed.

    Attributes:
        completed: sent to the end.
        cancelled: the client went away before the end; billed its prompt and the tokens sent by then.
        broken: cut midway by an injected fault. A stream is billed its prompt and the tokens sent, a whole
            body everything: it was written before it was lost.
        failed: refused or failed before the first byte; billed nothing.
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
    """One request as it ended: `limit` is its `max_tokens`, `end` the name of the counter in `ReplayTally`."""

    model: str
    status: int
    end: str
    stream: bool
    limit: int | None
    prompt_tokens: int
    completion_tokens: int
    headers: Iterable[tuple[bytes, bytes]]

    def as_dict(self) -> dict[str, Any]:
        """Fit for JSON: header names in lower case, none that holds a secret."""
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
    """Tallies per candidate and the last requests."""

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
        """`candidates`: name -> counts; where asked for, `log`: the last requests, oldest first."""
        counts: dict[str, Any] = {name: asdict(tally) for name, tally in self.tallies.items()}
        if log <= 0:
            return {"candidates": counts}
        return {"candidates": counts, "log": [served.as_dict() for served in list(self.log)[-log:]]}
