"""The tenants of a process follow the store: changes, notices, uses, and a store that fails for a while."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.billing.window import Budget
from gateway.errors import StoreError
from gateway.stores.sqlite.tenants import SqliteTenants
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.registry import ApiKey, TenantRegistry, TenantSettings
from gateway.tenants.store import Marks
from gateway.tenants.tenant import Tenants
from gateway.tenants.watch import LOOK_S, TenantWatch, tenant_of
from tests.e2e.harness.scripted_provider import wait_until

KEY_HASH = KeyHash(b"a secret of this server")
ACME = TenantSettings("acme", budgets=(Budget(5),), candidates=None)
KEY = ApiKey("k1", "acme", "laptop", KEY_HASH.of(b"sk-one").hex(), created_at=0.0, budgets=(Budget(3),))
ALL = ("small", "middle", "large")
ROSTER = TenantRegistry({"acme": ACME}, {"k1": KEY})


class Faulty(SqliteTenants):
    """Fails while it is told to, in the way it is told."""

    fault: Exception | None = None
    asked = 0

    def marks(self) -> Marks:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return super().marks()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Faulty]:
    with closing(Faulty(tmp_path / "loupe.sqlite")) as found:
        found.open()
        found.change(lambda _: (ROSTER, None))
        yield found


@pytest.fixture
def other(tmp_path: Path, store: Faulty) -> Iterator[SqliteTenants]:
    """The store as another process has it."""
    with closing(SqliteTenants(tmp_path / "loupe.sqlite")) as found:
        found.open()
        yield found


@pytest.fixture
def reported() -> list[str]:
    return []


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def tenants(store: Faulty, reported: list[str], notices: list[str]) -> Iterator[Tenants]:
    tenants = Tenants(KEY_HASH, {})
    live = TenantWatch(store, tenants, report=lambda where, error: reported.append(f"{where}: {error}"))
    live.offer(ALL)
    live.open(notices.append)
    yield tenants
    live.close()


def change(store: SqliteTenants, how: Callable[[TenantRegistry], TenantRegistry]) -> None:
    store.change(lambda registry: (how(registry), None))


def test_what_the_store_has_is_known_from_the_start(tenants: Tenants) -> None:
    found = tenants.find(b"sk-one")
    assert found is not None
    assert (found.name, found.key, found.budgets, found.key_budgets) == ("acme", "laptop", ACME.budgets, KEY.budgets)
    assert found.candidates == ALL
    assert tenants.find(b"sk-two") is None


def test_what_another_process_changes_is_followed_by_looking_once_a_second_or_more(
    tenants: Tenants, other: SqliteTenants
) -> None:
    assert LOOK_S <= 1.0
    change(other, lambda registry: replace(registry, tenants={"acme": replace(ACME, quality_weight=0.1)}))
    wait_until(lambda: (tenants.find(b"sk-one") or pytest.fail()).quality_weight == 0.1, "the change")
    change(other, lambda registry: replace(registry, keys={"k1": replace(KEY, revoked_at=1.0)}))
    wait_until(lambda: tenants.find(b"sk-one") is None, "the end of the key")


def test_a_notice_is_heard_once(tenants: Tenants, other: SqliteTenants, notices: list[str], store: Faulty) -> None:
    other.notify("look")
    wait_until(lambda: notices == ["look"], "the notice")
    asked = store.asked
    wait_until(lambda: store.asked > asked + 2, "further looks")
    assert notices == ["look"]


def test_a_notice_from_before_the_start_is_not_heard(store: Faulty, reported: list[str], notices: list[str]) -> None:
    store.notify("old")
    live = TenantWatch(store, Tenants(KEY_HASH, {}), report=lambda *_: None)
    live.open(notices.append)
    asked = store.asked
    wait_until(lambda: store.asked > asked + 2, "further looks")
    live.close()
    assert notices == []


@pytest.mark.parametrize("fault", [StoreError("gone"), ValueError("unheard of")])
def test_a_store_that_fails_is_reported_once_and_followed_again(
    tenants: Tenants, store: Faulty, other: SqliteTenants, reported: list[str], fault: Exception
) -> None:
    store.fault = fault
    change(other, lambda registry: replace(registry, keys={}))
    asked = store.asked
    wait_until(lambda: store.asked > asked + 3, "looks in vain")
    assert reported == [f"tenants: {fault}"]
    assert tenants.find(b"sk-one") is not None, "what is known goes on"
    store.fault = None
    wait_until(lambda: tenants.find(b"sk-one") is None, "the change")


def test_a_store_that_lost_what_it_had_takes_nobodys_keys(
    tenants: Tenants, store: Faulty, other: SqliteTenants, reported: list[str], tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "loupe.sqlite")) as db, db:
        db.executescript("DELETE FROM tenants; DELETE FROM api_keys; DELETE FROM tenant_marks")
    wait_until(lambda: reported != [], "the report")
    assert "lost" in reported[0]
    assert tenants.find(b"sk-one") is not None


def test_uses_are_noted_at_the_end(store: Faulty, other: SqliteTenants) -> None:
    tenants = Tenants(KEY_HASH, {})
    live = TenantWatch(store, tenants, report=lambda *_: None, clock=lambda: 77.0)
    live.open(lambda _: None)
    tenants.find(b"sk-one")
    live.close()
    assert other.load()[0].keys["k1"].last_used_at == 77.0


@pytest.mark.parametrize(
    ("of_tenant", "of_key", "shown"),
    [
        (None, None, ALL),
        (("large", "small"), None, ("large", "small")),
        (("large", "gone"), None, ("large",)),
        (("large", "small"), ("small",), ("small",)),
        (("large",), ("small", "large"), ("large",)),
        (None, ("small", "gone"), ("small",)),
        (("gone",), None, ()),
    ],
)
def test_a_key_shows_what_both_lists_and_the_catalog_have(
    of_tenant: tuple[str, ...] | None, of_key: tuple[str, ...] | None, shown: tuple[str, ...]
) -> None:
    terms, key = replace(ACME, candidates=of_tenant), replace(KEY, candidates=of_key)
    assert tenant_of(terms, key, ALL).candidates == shown
