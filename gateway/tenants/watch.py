"""The tenants of a running process, kept equal to the store's: a thread looks for changes ten times a second.

A key that is made or revoked anywhere, by a command or by another process, takes effect here within a tenth of a
second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from gateway.errors import StoreError
from gateway.tenants.registry import ApiKey, TenantRegistry, TenantSettings
from gateway.tenants.store import Marks, TenantStore
from gateway.tenants.tenant import Tenant, Tenants

LOOK_S = 0.1
NOTE_USED_S = 10.0


class TenantWatch:
    """A watch that fills `tenants` from the store, limited to the candidates that `offer` gives it.

    `report` takes errors, only the first of consecutive ones.
    """

    def __init__(
        self,
        store: TenantStore,
        tenants: Tenants,
        *,
        report: Callable[[str, BaseException], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._tenants = tenants
        self._report = report
        self._clock = clock
        self._candidates: Collection[str] = ()
        self._registry = TenantRegistry()
        self._marks = Marks()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def registry(self) -> TenantRegistry:
        """The registry as this process knows it."""
        return self._registry

    def open(self, noticed: Callable[[str], None]) -> None:
        """Read the registry and begin to look for changes. Raises StoreError.

        `noticed` is called, in the thread, with each new notice of the store.
        """
        self._marks = Marks(notice=self._store.marks().notice)
        self.refresh()
        self._thread = threading.Thread(target=self._look_for_ever, args=(noticed,), name="live-tenants", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking for changes; note the last uses of keys."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            with suppress(StoreError):  # only the times of last use are lost
                self._note_used()

    def refresh(self) -> None:
        """Load what the store has now. Raises StoreError."""
        registry, marks = self._store.load()  # not under the lock, because the event loop may wait for the lock
        with self._lock:
            if marks.version >= self._marks.version:
                self._marks = Marks(marks.version, self._marks.notice)
                self._registry = registry
                self._fill()

    def offer(self, candidates: Collection[str]) -> None:
        """Use these candidates, in the operator's order, from now on."""
        with self._lock:
            self._candidates = candidates
            self._fill()

    def _fill(self) -> None:
        keys = (key for key in self._registry.keys.values() if key.revoked_at is None)
        self._tenants.replace(
            {
                bytes.fromhex(key.hash): tenant_of(self._registry.tenants[key.tenant], key, self._candidates)
                for key in keys
                if key.tenant in self._registry.tenants
            }
        )

    def _look_for_ever(self, noticed: Callable[[str], None]) -> None:
        failing, noted = False, self._clock()
        while not self._stop.wait(LOOK_S):
            try:
                self._look(noticed)
                if abs(self._clock() - noted) >= NOTE_USED_S:
                    noted = self._clock()
                    self._note_used()
                failing = False
            except Exception as error:  # any error: a watch that stops would let revoked keys in
                if not failing:
                    self._report("tenants", error)
                failing = True

    def _look(self, noticed: Callable[[str], None]) -> None:
        marks = self._store.marks()
        if marks.version < self._marks.version:
            raise StoreError(
                "the store has lost tenants and keys that it had: this process keeps those it knows until a restart"
            )
        if marks.version != self._marks.version:
            self.refresh()
        if marks.notice != self._marks.notice:
            self._marks = Marks(self._marks.version, marks.notice)
            noticed(marks.notice)

    def _note_used(self) -> None:
        used = self._tenants.take_used()
        if used:
            self._store.note_used([each.hex() for each in used], self._clock())


def tenant_of(terms: TenantSettings, key: ApiKey, candidates: Collection[str]) -> Tenant:
    """Return a tenant as seen through one of its keys, which never allows more than its tenant.

    Names that no candidate has any more are left out.
    """
    allowed = tuple(name for name in (terms.candidates or candidates) if name in candidates)
    if key.candidates is not None:
        allowed = tuple(name for name in key.candidates if name in allowed)
    return Tenant(
        name=terms.name,
        candidates=allowed,
        quality_weight=terms.quality_weight,
        on_infeasible=terms.on_infeasible,
        budgets=terms.budgets,
        key=key.name,
        key_budgets=key.budgets,
        expires_at=key.expires_at,
        pacing=terms.pacing,
        exploration=terms.exploration,
    )
