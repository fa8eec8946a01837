"""The configuration read again while the service runs: taken over whole, or refused whole with a word on what is wrong.

Every process of one store takes part: the one that was asked, by SIGHUP or `/admin/reload`, tells the others through
the store.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.app.generation import ConfigGeneration, ConfigGenerations
from gateway.app.services import TenantServices
from gateway.config.checked import CheckedConfig
from gateway.config.settings import Settings, load_config
from gateway.config.tenants import declared_in
from gateway.errors import ConfigError, RequestError, StoreError
from gateway.tenants.provisioning import SyncResult
from gateway.tenants.registry import TenantRegistry

FIXED = ("store", "log", "decisions", "content", "encoder", "router")
NAMES_SAID = 10
SWAPPED_OF_SERVER = ("max_body_mb",)
_log = logging.getLogger("loupe")


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What a reload did: sections that differ from before, and what became of tenants and keys."""

    changed: tuple[str, ...]
    readings: SyncResult


class Reloader:
    """Puts configurations into service. `taken` is called with each config generation when it begins to serve."""

    def __init__(
        self,
        config: Path | None,
        generations: ConfigGenerations,
        tenant_services: TenantServices,
        *,
        taken: Callable[[ConfigGeneration], None],
    ) -> None:
        self._config = config
        self._generations = generations
        self._tenant_services = tenant_services
        self._taken = taken
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._settings: Settings | None = None
        self._digest = ""

    async def begin(self, plan: CheckedConfig) -> None:
        """Put the first configuration into service. Raises ConfigError or StoreError."""
        if self._config is not None:
            self._digest = await asyncio.to_thread(self._digest_of, self._config)
        await self._take(plan)

    async def reload(self, *, tell: bool = True) -> ReloadResult:
        """Read the file again and serve by it; `tell` the other processes. Raises ConfigError when anything in it is
        wrong or cannot change without a restart, and StoreError: then nothing has changed.
        """
        async with self._lock:
            try:
                done = await self._reload(tell)
            except (ConfigError, StoreError) as error:
                _log.error("reload refused, nothing was changed: %s", error)
                raise
            except Exception:  # a fault of ours, wherever it is: the configuration in service goes on
                _log.exception("the reload failed")
                raise
        _log.info("reloaded; changed: %s", ", ".join(done.changed) or "nothing")
        return done

    def ask(self) -> None:
        """Reload soon; the log says what came of it."""
        self._soon(self._reload_quietly(tell=True))

    def hear(self, notice: str) -> None:
        """Another process, or this one, has reloaded. Called in any thread."""
        self._loop.call_soon_threadsafe(self._heard, notice)

    async def close(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _reload(self, tell: bool) -> ReloadResult:
        if self._config is None:
            raise ConfigError("this gateway was not started from a file: there is nothing to read again")
        before = self._settings
        assert before is not None
        digest = await asyncio.to_thread(self._digest_of, self._config)
        settings = await asyncio.to_thread(load_config, self._config)
        fixed = list(_fixed_changes(before, settings))
        if fixed:
            raise ConfigError(f"{', '.join(fixed)}: cannot change without a restart")
        plan = await asyncio.to_thread(CheckedConfig.of, settings)
        readings = await self._take(plan)
        self._digest = digest
        if tell:
            await asyncio.to_thread(self._tell, digest)
        changed = [name for name in Settings.model_fields if getattr(before, name) != getattr(settings, name)]
        return ReloadResult(tuple(changed), readings)

    async def _take(self, plan: CheckedConfig) -> SyncResult:
        """The store is the last that can refuse; from there on nothing waits and nothing fails."""
        tenant_services, settings = self._tenant_services, plan.settings
        declared = declared_in(settings, tenant_services.key_hash, self._config)
        if settings.tenants_from is not None:
            _log.warning("tenants_from has no effect any more: what the file names is the file's; remove the key")
        generation = self._generations.prepare(plan)
        try:
            readings = await asyncio.to_thread(tenant_services.management.read_in, declared)
        except RequestError as error:
            self._generations.discard(generation)
            raise ConfigError(f"tenants: {error}") from None
        except BaseException:
            self._generations.discard(generation)
            raise
        with suppress(StoreError):  # it is in the store: the watch takes it over as soon as it can be read
            await asyncio.to_thread(tenant_services.live.refresh)
        self._generations.swap(generation)
        tenant_services.live.offer(plan.candidates)
        tenant_services.management.candidates = plan.candidates
        self._taken(generation)
        self._settings = settings
        _say(readings, declared.file)
        _say_who_is_left_without(tenant_services.live.registry, plan.candidates)
        return readings

    async def _follow(self) -> None:
        """Reload if this process's own file has changed. A file that is as it was is not put over another one that was
        read in since, on another machine: in a rolling deploy that would bring the old one back.
        """
        if self._config is None:
            return
        with suppress(ConfigError):  # it cannot be read: the reload says so
            if await asyncio.to_thread(self._digest_of, self._config) == self._digest:
                return
        await self._reload_quietly(tell=False)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload_quietly(self, *, tell: bool) -> None:
        try:
            await self.reload(tell=tell)
        except Exception:  # it is in the log
            return

    def _tell(self, digest: str) -> None:
        try:
            self._tenant_services.store.notify(f"{digest}:{os.urandom(4).hex()}")
        except StoreError as error:
            _log.error("the other processes could not be told of the reload: %s", error)

    def _heard(self, notice: str) -> None:
        if notice.partition(":")[0] != self._digest:
            self._soon(self._follow())

    def _digest_of(self, config: Path) -> str:
        try:
            return self._tenant_services.key_hash.of(config.read_bytes()).hex()[:32]
        except OSError as error:
            raise ConfigError(f"{config}: {error.strerror}") from None


def _fixed_changes(before: Settings, after: Settings) -> Iterator[str]:
    """Keys that differ and are read at the start only."""
    for name in ("server", *FIXED):
        old, new = getattr(before, name), getattr(after, name)
        for key in type(old).model_fields:
            if getattr(old, key) != getattr(new, key) and not (name == "server" and key in SWAPPED_OF_SERVER):
                yield f"{name}.{key}"


def _say(readings: SyncResult, file: str) -> None:
    for name in readings.removed:
        _log.warning("tenants: %s is not in %s, which is in force now: deleted", name, file)
    for name in readings.left:
        what = "tenants: %s stays ended, because a command ended it, though %s names it: remove it there"
        _log.warning(what, name, file)
    read = (*readings.added, *readings.changed)
    if read:
        more = f" and {len(read) - NAMES_SAID} more" if len(read) > NAMES_SAID else ""
        _log.info("tenants: read in from %s: %s%s", file, ", ".join(read[:NAMES_SAID]), more)


def _say_who_is_left_without(registry: TenantRegistry, candidates: Collection[str]) -> None:
    """An allow-list in the store may name candidates that are gone; of one that names no other, nothing is left."""
    for terms in registry.tenants.values():
        if terms.candidates is not None and not set(terms.candidates) & set(candidates):
            _log.warning("tenants: %s may use none of the candidates that there are", terms.name)
