"""An observer that keeps the records it is told of."""

from __future__ import annotations

from gateway.pipeline.record import RequestRecord


class RecordingObserver:
    """Implements `gateway.pipeline.observer.Observer`."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []

    def observe(self, record: RequestRecord) -> None:
        self.records.append(record)

    @property
    def record(self) -> RequestRecord:
        """The only record; there must be one and no more."""
        assert len(self.records) == 1, f"{len(self.records)} records"
        return self.records[0]
