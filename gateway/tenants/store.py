"""The interface of the tenant store: it keeps one registry, which changes as a whole and is small enough to read as a
whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gateway.tenants.registry import TenantRegistry

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks that show a process whether anything changed.

    Attributes:
        version: rises with each change of the registry.
        notice: the last `notify`; empty if there was none.
    """

    version: int = 0
    notice: str = ""


class TenantStore(Protocol):
    """A store of tenants and keys. Blocking, and safe to call from several threads. All methods raise StoreError."""

    def secret(self, given: bytes | None) -> tuple[bytes, bool]:
        """Return the secret that keys are hashed with, and whether the store itself keeps it.

        The secret is `given`, or else one that was drawn at the first call. Raises ConfigError if the secret was
        another before, because keys hashed with the old secret would no longer be found.
        """
        ...

    def forget_secret(self) -> None:
        """Forget the secret, so that the next call of `secret` may bring another."""
        ...

    def load(self) -> tuple[TenantRegistry, Marks]:
        """Return the registry and the marks that belong to it."""
        ...

    def change(self, change: Callable[[TenantRegistry], tuple[TenantRegistry, Result]]) -> Result:
        """Replace the registry by what `change` returns for it, in one step across all processes.

        Errors of `change` are passed on; the registry is then unchanged.
        """
        ...

    def marks(self) -> Marks: ...

    def notify(self, notice: str) -> None:
        """Send a notice to every process that uses this store."""
        ...

    def note_used(self, hashes: Collection[str], at: float) -> None:
        """Note that these keys were used at `at`. Changes no mark."""
        ...
