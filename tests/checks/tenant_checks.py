"""What every store of tenants keeps to."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from gateway.billing.window import Budget
from gateway.errors import ConfigError, NotFoundError
from gateway.tenants.policy import ExplorationSettings, TenantPacingSettings
from gateway.tenants.registry import ApiKey, TenantRegistry, TenantSettings, add_key, add_tenant
from gateway.tenants.store import TenantStore

ACME = TenantSettings(
    "acme",
    budgets=(Budget(5 * 10**9, "month", zone="Asia/Tokyo", soft=True), Budget(60, "minute", "requests", rolling=True)),
    candidates=("small", "large"),
    quality_weight=0.25,
    on_infeasible="cheapest",
    created_at=1_000.5,
    pacing=TenantPacingSettings("even", 0.25),
    exploration=ExplorationSettings(rate=0.5, budget_share=0.125),
)
KEY = ApiKey(
    "key_1",
    "acme",
    "laptop",
    "ab" * 32,
    created_at=1_001.25,
    expires_at=9_999.0,
    budgets=(Budget(7, unit="tokens"),),
    candidates=("small",),
    origin="yaml",
)
FULL = TenantRegistry(
    {"acme": ACME, "plain": TenantSettings("plain"), "unpaced": TenantSettings("unpaced", pacing=None)},
    {"key_1": KEY},
    {"acme": "/etc/loupe/gateway.yaml"},
)


class TenantChecks:
    """Derive from it with a fixture `store`, and `same`: another store on the same place."""

    def test_a_new_store_is_empty(self, store: TenantStore) -> None:
        registry, marks = store.load()
        assert registry == TenantRegistry()
        assert marks == store.marks()

    def test_every_field_comes_back_as_it_was(self, store: TenantStore, same: TenantStore) -> None:
        store.change(lambda _: (FULL, None))
        assert same.load()[0] == FULL
        assert same.load()[0].keys["key_1"] == KEY

    def test_keys_stay_in_the_order_they_were_made(self, store: TenantStore) -> None:
        ids = [f"key_{number}" for number in (5, 1, 9, 3)]
        for place, each in enumerate(ids):
            key = replace(KEY, id=each, hash=f"{place:064x}")
            store.change(lambda registry, key=key: (replace(registry, keys={**registry.keys, key.id: key}), None))
        first = replace(store.load()[0].keys["key_5"], revoked_at=5.0)
        store.change(lambda registry: (replace(registry, keys={**registry.keys, "key_5": first}), None))
        assert list(store.load()[0].keys) == ids

    def test_what_is_taken_off_is_gone(self, store: TenantStore) -> None:
        store.change(lambda _: (FULL, None))
        store.change(lambda registry: (replace(registry, tenants={"acme": ACME}, keys={}, provisioned={}), None))
        assert store.load()[0] == TenantRegistry({"acme": ACME})

    def test_a_change_gives_its_result_and_raises_the_version(self, store: TenantStore, same: TenantStore) -> None:
        before = store.marks()
        assert store.change(lambda registry: (FULL, "done")) == "done"
        assert same.marks().version > before.version
        assert store.load()[1] == same.marks()

    def test_a_change_of_nothing_raises_no_version(self, store: TenantStore) -> None:
        store.change(lambda _: (FULL, None))
        before = store.marks()
        store.change(lambda registry: (registry, None))
        assert store.marks() == before

    def test_what_a_change_raises_is_passed_on_and_nothing_is_kept(self, store: TenantStore) -> None:
        store.change(lambda _: (FULL, None))

        def fails(registry: TenantRegistry) -> tuple[TenantRegistry, None]:
            raise NotFoundError("no such thing")

        with pytest.raises(NotFoundError, match="no such thing"):
            store.change(fails)
        assert store.load()[0] == FULL
        store.change(lambda registry: (TenantRegistry(), None))  # and it goes on

    def test_changes_side_by_side_are_all_kept(self, store: TenantStore, same: TenantStore) -> None:
        store.change(lambda registry: (add_tenant(registry, replace(ACME, candidates=None)), None))

        def make(where: TenantStore, start: int) -> None:
            for number in range(start, start + 10):
                key = replace(KEY, id=f"key_{number}", name=f"n{number}", hash=f"{number:064x}")
                where.change(lambda registry, key=key: (add_key(registry, key, 0.0), None))

        threads = [threading.Thread(target=make, args=(s, i * 10)) for i, s in enumerate((store, same, store, same))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {key.name for key in store.load()[0].keys.values()} == {f"n{number}" for number in range(40)}

    def test_use_is_noted_and_is_no_change(self, store: TenantStore, same: TenantStore) -> None:
        store.change(lambda _: (FULL, None))
        before = store.marks()
        store.note_used([KEY.hash, "cd" * 32], 77.0)
        assert same.load()[0].keys["key_1"].last_used_at == 77.0
        assert store.marks() == before

    def test_a_notice_reaches_others_and_changes_no_version(self, store: TenantStore, same: TenantStore) -> None:
        assert same.marks().notice == ""
        before = store.marks().version
        store.notify("look")
        assert same.marks().notice == "look"
        assert same.marks().version == before

    def test_a_secret_is_drawn_once_and_kept(self, store: TenantStore, same: TenantStore) -> None:
        secret, is_kept = store.secret(None)
        assert is_kept
        assert len(secret) >= 32
        assert same.secret(None) == (secret, True)

    def test_a_given_secret_is_not_kept(self, store: TenantStore, same: TenantStore) -> None:
        assert store.secret(b"given by the environment") == (b"given by the environment", False)
        assert same.secret(b"given by the environment") == (b"given by the environment", False)
        with pytest.raises(ConfigError, match="another secret"):
            same.secret(None)

    def test_space_around_a_given_secret_does_not_count(self, store: TenantStore, same: TenantStore) -> None:
        assert store.secret(b" given by a file\n") == (b"given by a file", False)
        assert same.secret(b"given by a file") == (b"given by a file", False)
        assert same.secret(b"given by a file\r\n") == (b"given by a file", False)

    @pytest.mark.parametrize("first", [None, b"the one before this"])
    def test_another_secret_is_refused_until_the_first_is_forgotten(
        self, store: TenantStore, same: TenantStore, first: bytes | None
    ) -> None:
        store.secret(first)
        with pytest.raises(ConfigError, match="another secret"):
            same.secret(b"quite another one")
        assert store.secret(first)[1] is (first is None), "what was refused has changed nothing"
        store.forget_secret()
        assert same.secret(b"quite another one") == (b"quite another one", False)
