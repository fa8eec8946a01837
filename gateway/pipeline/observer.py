"""The observer interfaces: an observer is told of each finished request."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from gateway.errors import RequestError
from gateway.pipeline.record import RequestRecord


class Observer(Protocol):
    def observe(self, record: RequestRecord) -> None:
        """Take a finished record. Must not block and must not raise."""
        ...


@runtime_checkable
class LabelObserver(Protocol):
    def labelled(self, tenant: str, candidate: str, modality: str, score: float) -> None:
        """Take the first label that a source gave to an answer. `modality` is `text` or `image`; score is 0 to 1."""
        ...


class RefusalObserver(Protocol):
    def refused_early(self, error: RequestError) -> None:
        """Take a request that was refused before it was parsed: no key, invalid JSON, an invalid image."""
        ...
