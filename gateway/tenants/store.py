"""Where tenants and keys are kept: a registry that changes as a whole, and is small enough to be read as a whole."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gateway.tenants.registry import TenantRegistry

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Marks:
    """What a process looks at to see whether anything changed.

    Attributes:
        version: rises with each change of the registry.
        notice: the last `notify`; empty while there was none.
    """

    version: int = 0
    notice: str = ""


class TenantStore(Protocol):
    """Blocking, and safe to call from several threads: it is asked off the event loop. Raises StoreError throughout."""

    def secret(self, given: bytes | None) -> tuple[bytes, bool]:
        """The secret that keys are hashed with, and whether the store keeps it itself.

        It is the `given` one, else one that was drawn when it was first asked for. Raises ConfigError when it was
        another before: what was hashed with that would not be found any more.
        """
        ...

    def forget_secret(self) -> None:
        """The next one to ask for a secret may bring another."""
        ...

    def load(self) -> tuple[TenantRegistry, Marks]:
        """The registry and the marks that belong to it."""
        ...

    def change(self, change: Callable[[TenantRegistry], tuple[TenantRegistry, Result]]) -> Result:
        """Put the changed registry in the place of the one that is given to `change`, in one step across all processes.
        What `change` raises is passed on, and nothing was changed.
        """
        ...

    def marks(self) -> Marks: ...

    def notify(self, notice: str) -> None:
        """Say something to every process that uses this store."""
        ...

    def note_used(self, hashes: Collection[str], at: float) -> None:
        """These keys were used at `at`. It changes no mark."""
        ...
