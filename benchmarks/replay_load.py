"""Load for a gateway before a replayed table: asks at a steady rate, explores now and then, grades what it is told.

What is asked is as it would be: most requests are routed, some name their candidate, some cap their price too low, some
carry an image that is damaged.
"""

from __future__ import annotations

import asyncio
import base64
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from gateway.comparison import LabelledRow
from gateway.replay.reply import final_answer

EXPLORED = 0.2
LABELLED = 0.8
CAPPED = 0.03
BROKEN = 0.02
MAX_TOKENS = 1_024
COMPLETIONS = "/v1/chat/completions"
AT_ONCE = 16
TIMEOUT_S = 30.0
TOO_LOW = "0.0000001"


@dataclass(frozen=True, slots=True)
class Ask:
    """A question on an image, and the right answer."""

    question: str
    image: bytes
    answer: str


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway's address, and the keys of its tenants by name."""

    url: str
    keys: dict[str, str]


@dataclass(slots=True)
class Grades:
    """What was labelled: implements `LabelledRows`. `labelled` is told of each: tenant, candidate, modality, score;
    `statuses` counts the replies to all chat completions.
    """

    labelled: Callable[[str, str, str, float], None] = lambda *_: None
    statuses: dict[int, int] = field(default_factory=dict)
    _rows: list[tuple[float, LabelledRow]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, row: LabelledRow) -> None:
        with self._lock:
            self._rows.append((time.time(), row))
        self.labelled(row.tenant, row.candidate, "image", row.score)

    def labelled_rows(self, since: float, limit: int) -> Sequence[LabelledRow]:
        with self._lock:
            return [row for at, row in self._rows if at > since][-limit:]


def damaged(image: bytes) -> bytes:
    """With head and end, so that it is taken, and nothing that could be decoded between them."""
    third = len(image) // 3
    return image[:third] + b"\xff" * third + image[2 * third :]


async def drive(target: Target, asks: Sequence[Ask], grades: Grades, *, per_second: float, seconds: float) -> None:
    """So many a second for so long, at most `AT_ONCE` under way."""
    draw = random.Random(7)
    places = asyncio.Semaphore(AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    began = time.perf_counter()
    async with aiohttp.ClientSession(target.url, timeout=timeout) as session, asyncio.TaskGroup() as tasks:
        for number in range(round(per_second * seconds)):
            await asyncio.sleep(max(began + number / per_second - time.perf_counter(), 0))
            await places.acquire()
            tenant = draw.choices(list(target.keys), (5, 3, 2))[0]
            one = _One(session, tenant, target.keys[tenant], draw.choice(asks), grades, random.Random(draw.random()))
            tasks.create_task(one.run()).add_done_callback(lambda _: places.release())


@dataclass(frozen=True, slots=True)
class _One:
    """One request and, where it was served, its label."""

    session: aiohttp.ClientSession
    tenant: str
    key: str
    ask: Ask
    grades: Grades
    draw: random.Random

    async def run(self) -> None:
        if self.draw.random() < BROKEN:
            await self._post(COMPLETIONS, self._body("auto", damaged(self.ask.image)))
        elif self.draw.random() < CAPPED:
            await self._post(COMPLETIONS, self._body("auto", self.ask.image), {"X-Budget": TOO_LOW})
        else:
            await self._graded()

    async def _graded(self) -> None:
        table = (await self._post("/v1/route", self._body("auto", self.ask.image)))[1]
        rows = [row for row in table.get("candidates", ()) if row["feasible"] and row["quality"] is not None]
        forecasts = {row["candidate"]: (row["quality"], row["expected_cost_usd"]) for row in rows}
        if not forecasts:
            return
        chosen, explores = table["chosen"], self.draw.random() < EXPLORED
        name = self.draw.choice(sorted(forecasts)) if explores else chosen
        body = self._body(name if explores else "auto", self.ask.image)
        status, reply, headers = await self._post_whole(COMPLETIONS, body)
        if status != 200 or headers["x-route-candidate"] != name or self.draw.random() >= LABELLED:
            return
        right = final_answer(reply["choices"][0]["message"]["content"] or "") == self.ask.answer
        propensity = EXPLORED / len(forecasts) + (1 - EXPLORED) * (name == chosen)
        cost = float(headers["x-route-cost"])
        self.grades.add(LabelledRow(self.tenant, name, float(right), cost, propensity, LABELLED, forecasts))

    def _body(self, model: str, image: bytes) -> dict[str, Any]:
        kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
        url = f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
        content = [{"type": "text", "text": self.ask.question}, {"type": "image_url", "image_url": {"url": url}}]
        return {"model": model, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": content}]}

    async def _post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> tuple[int, Any]:
        status, reply, _ = await self._post_whole(path, body, headers)
        return status, reply

    async def _post_whole(
        self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        async with self.session.post(path, json=body, headers=sent) as reply:
            found = await reply.json()
            if path == COMPLETIONS:
                self.grades.statuses[reply.status] = self.grades.statuses.get(reply.status, 0) + 1
            return reply.status, found, {name.lower(): value for name, value in reply.headers.items()}
