"""How late the event loop comes back: the one number that shows something heavy running on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY_S = 0.1


async def watch_lag(
    note: Callable[[float], None], every_s: float = EVERY_S, clock: Callable[[], float] | None = None
) -> None:
    """For ever: ask to be woken after `every_s` and note by how many seconds it was later, by `clock` (the loop's own
    where there is none).
    """
    clock = clock or asyncio.get_running_loop().time
    while True:
        due = clock() + every_s
        await asyncio.sleep(every_s)
        note(max(clock() - due, 0.0))
