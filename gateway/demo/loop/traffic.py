"""The loop demo's client: asks a gateway query after query, and later reports for some answers whether they were right.

To the gateway it is a client like any other. Nothing is retried: a request that is not answered counts as dropped.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import mimetypes
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from gateway.demo.loop.table import Row
from gateway.providers.replay.reply import final_answer, right_answer

CONNECTIONS = 8
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """The plan of labelling: a share of the answers, each after a delay of up to `delay_s` seconds."""

    share: float = 0.7
    delay_s: float = 5.0
    source: str = "user"


@dataclass(slots=True)
class TrafficTally:
    """The results of the traffic: HTTP status -> requests, who served, and the accepted labels."""

    statuses: Counter[int] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    right: int = 0
    labelled: int = 0
    labels_refused: int = 0

    @property
    def sent(self) -> int:
        return sum(self.statuses.values())

    @property
    def dropped(self) -> int:
        """Requests without a good answer; status 0 is a connection that broke."""
        return self.sent - self.statuses[200]


class Traffic:
    """A client that sends queries to one gateway as one tenant. `seed` decides what is labelled, and when."""

    def __init__(self, url: str, key: str, images: Path, labelling: LabelPlan, seed: int) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {key}"}
        self._images = images
        self._labelling = labelling
        self._random = np.random.default_rng(seed)
        self.tally = TrafficTally()

    def send(self, rows: Sequence[Row], progress: Callable[[int], None]) -> None:
        """Ask each query once; return when every answer and every label is in."""
        asyncio.run(self._send(iter(rows), CONNECTIONS, progress))

    def keep_on(self, rows: Sequence[Row], until: Callable[[], bool]) -> None:
        """Ask the queries over and over on one connection, until `until()` is True; nothing is labelled. Run it in a
        thread.
        """
        endless = itertools.takewhile(lambda _row: not until(), itertools.cycle(rows))
        asyncio.run(self._send(endless, 1, lambda _done: None, label=False))

    async def _send(
        self, rows: Iterator[Row], connections: int, progress: Callable[[int], None], *, label: bool = True
    ) -> None:
        timeout, done = aiohttp.ClientTimeout(total=TIMEOUT_S), itertools.count(1)
        async with (
            aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
            asyncio.TaskGroup() as late,
        ):

            async def work() -> None:
                for row in rows:
                    answered = await self._ask(session, row)
                    progress(next(done))
                    if label and answered is not None and self._random.random() < self._labelling.share:
                        late.create_task(self._label(session, *answered))

            await asyncio.gather(*(work() for _ in range(connections)))

    async def _ask(self, session: aiohttp.ClientSession, row: Row) -> tuple[str, float] | None:
        """Return the request's id and the score of its answer; None without an answer."""
        try:
            async with session.post(f"{self._url}/v1/chat/completions", data=_body(row, self._images)) as reply:
                said = await reply.json()
                self.tally.statuses[reply.status] += 1
        except (aiohttp.ClientError, TimeoutError, ValueError):
            self.tally.statuses[0] += 1
            return None
        if reply.status != 200:
            return None
        self.tally.served[reply.headers["x-route-candidate"]] += 1
        self.tally.reasons[reply.headers["x-route-reason"].partition(";")[0]] += 1
        text = said["choices"][0]["message"]["content"]
        is_right = final_answer(text) == right_answer(row.get("answer", "").strip())
        self.tally.right += is_right
        return reply.headers["x-request-id"], float(is_right)

    async def _label(self, session: aiohttp.ClientSession, request_id: str, score: float) -> None:
        await asyncio.sleep(self._random.random() * self._labelling.delay_s)
        label = {
            "request_id": request_id,
            "score": score,
            "source": self._labelling.source,
            "probability": self._labelling.share,
        }
        async with session.post(f"{self._url}/v1/feedback", json=label) as reply:
            taken = reply.status == 200
        self.tally.labelled += taken
        self.tally.labels_refused += not taken


def _body(row: Row, images: Path) -> bytes:
    content: list[dict[str, Any]] = [{"type": "text", "text": row["question"]}]
    if row.get("img_path"):
        file = images / row["img_path"]
        kind = mimetypes.guess_type(file.name)[0] or "image/jpeg"
        url = f"data:{kind};base64," + base64.b64encode(file.read_bytes()).decode()
        content.append({"type": "image_url", "image_url": {"url": url}})
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": content}]}).encode()
