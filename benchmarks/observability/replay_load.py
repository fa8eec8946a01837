"""A load for a gateway in front of a replayed table: requests at a steady rate, and labels of replies by the table.

Some requests have a cap that is too low, and some carry a damaged image.
"""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from gateway.providers.replay.reply import final_answer

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
    """A question about an image, and the right answer."""

    question: str
    image: bytes
    answer: str


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway's address, and the keys of its tenants by name."""

    url: str
    keys: dict[str, str]


@dataclass(slots=True)
class Replies:
    """The numbers of chat completions by status, and the number of labelled completions."""

    statuses: dict[int, int] = field(default_factory=dict)
    labelled: int = 0


def damaged(image: bytes) -> bytes:
    """Return the image with an undecodable middle; its head and end are kept, so that the gateway accepts the image."""
    third = len(image) // 3
    return image[:third] + b"\xff" * third + image[2 * third :]


async def drive(target: Target, asks: Sequence[Ask], replies: Replies, *, per_second: float, seconds: float) -> None:
    """Send `per_second` requests for `seconds`, at most `AT_ONCE` of them in flight."""
    draw = random.Random(7)
    places = asyncio.Semaphore(AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    began = time.perf_counter()
    async with aiohttp.ClientSession(target.url, timeout=timeout) as session, asyncio.TaskGroup() as tasks:
        for number in range(round(per_second * seconds)):
            await asyncio.sleep(max(began + number / per_second - time.perf_counter(), 0))
            await places.acquire()
            tenant = draw.choices(list(target.keys), (5, 3, 2))[0]
            one = _One(session, tenant, target.keys[tenant], draw.choice(asks), replies, random.Random(draw.random()))
            tasks.create_task(one.run()).add_done_callback(lambda _: places.release())


@dataclass(frozen=True, slots=True)
class _One:
    """One request and, if it is served, its label."""

    session: aiohttp.ClientSession
    tenant: str
    key: str
    ask: Ask
    replies: Replies
    draw: random.Random

    async def run(self) -> None:
        if self.draw.random() < BROKEN:
            await self._post(COMPLETIONS, self._body("auto", damaged(self.ask.image)))
        elif self.draw.random() < CAPPED:
            await self._post(COMPLETIONS, self._body("auto", self.ask.image), {"X-Budget": TOO_LOW})
        else:
            await self._graded()

    async def _graded(self) -> None:
        status, reply, headers = await self._post_whole(COMPLETIONS, self._body("auto", self.ask.image))
        if status != 200 or self.draw.random() >= LABELLED:
            return
        right = final_answer(reply["choices"][0]["message"]["content"] or "") == self.ask.answer
        label = {"request_id": headers["x-request-id"], "score": float(right), "probability": LABELLED}
        taken, answer = await self._post("/v1/feedback", {**label, "source": "grader:exact"})
        if taken != 200:
            raise ValueError(f"a label was not taken: {taken} {answer}")
        self.replies.labelled += 1

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
                self.replies.statuses[reply.status] = self.replies.statuses.get(reply.status, 0) + 1
            return reply.status, found, {name.lower(): value for name, value in reply.headers.items()}
