"""Reloading the configuration while the service runs: the new one is used as a whole, or refused as a whole with a
reason.

Every process that uses the same store takes part: the process that was asked, by SIGHUP or `/admin/reload`, tells the
others through the store.
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
    """The result of a reload: the sections that changed, and the changes to tenants and keys."""

    changed: tuple[str, ...]
    readings: SyncResult


class Reloader:
    """A service that puts configurations into service. It calls `taken` with each config generation that begins to
    serve.
    """

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
        """Read the file again and serve by it; `tell` the other processes.

        Raises StoreError, and ConfigError if anything in the file is wrong or cannot change without a restart: then
        nothing has changed.
        """
        async with self._lock:
            try:
                done = await self._reload(tell)
            except (ConfigError, StoreError) as error:
                _log.error("reload refused, nothing was changed: %s", error)
                raise
            except Exception:  # an error of ours: the configuration in service remains
                _log.exception("the reload failed")
                raise
        _log.info("reloaded; changed: %s", ", ".join(done.changed) or "nothing")
        return done

    def ask(self) -> None:
        """Reload soon; the result is logged."""
        self._soon(self._reload_quietly(tell=True))

    def hear(self, notice: str) -> None:
        """Take the notice that a process, perhaps this one, has reloaded. May be called in any thread."""
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
        """Put a configuration into service. The store is the last that can refuse; after it nothing waits and nothing
        fails.
        """
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
        with suppress(StoreError):  # the change is stored; the watch will load it as soon as it can be read
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
        """Reload if this process's own file has changed.

        An unchanged file does not replace a newer one that was read in since on another machine: in a rolling deploy
        that would bring the old one back.
        """
        if self._config is None:
            return
        with suppress(ConfigError):  # the file cannot be read: the reload reports that
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
        except Exception:  # already logged
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
    """Yield the changed keys that are only read at the start."""
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
    """Warn about tenants whose allow-list in the store names only candidates that no longer exist."""
    for terms in registry.tenants.values():
        if terms.candidates is not None and not set(terms.candidates) & set(candidates):
            _log.warning("tenants: %s may use none of the candidates that there are", terms.name)
