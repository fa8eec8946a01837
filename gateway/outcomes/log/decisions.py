"""Reading and labelling of the decision log, off the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from gateway.outcomes.label import Label, LabelResult
from gateway.outcomes.log.labels import UnknownRequest, put_labels
from gateway.outcomes.log.reader import decision_of
from gateway.pipeline.observer import LabelObserver, Observer

THREADS = 2


Result = TypeVar("Result")


class LabelledDecisions:
    """Implements `gateway.api.decisions.Decisions` over the file of a log.

    It has its own threads, because a file that is locked for long must not block the threads that make forecasts.
    """

    def __init__(self, path: Path, observers: Sequence[Observer]) -> None:
        self._path = path
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="decisions")
        self._observers = [each for each in observers if isinstance(each, LabelObserver)]

    async def shown(self, tenant: str, request_id: str) -> Mapping[str, Any] | None:
        return await self._apart(decision_of, self._path, tenant, request_id)

    async def label(self, tenant: str, label: Label) -> LabelResult | None:
        try:
            (labelled,) = await self._apart(put_labels, self._path, [label], time.time(), tenant)
        except UnknownRequest:
            return None
        if labelled.is_new:
            for observer in self._observers:
                observer.labelled(labelled.tenant, labelled.candidate, labelled.modality, label.score)
        return labelled

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    async def _apart(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
