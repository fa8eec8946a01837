"""What may be done with tenants and keys: each change as a store has it afterwards, or a refusal and no change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.billing.window import Budget
from gateway.errors import RequestError
from gateway.stores.sqlite.tenants import SqliteTenants
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.management import KEY_PREFIX, NewKey, TenantManagement
from gateway.tenants.policy import PACED
from gateway.tenants.provisioning import ConfiguredTenants, SyncResult
from gateway.tenants.registry import ApiKey, TenantRegistry, TenantSettings
from gateway.tenants.schema import KeyConfig, TenantConfig
from tests.fakes.clock import HandClock

NOW = 1_767_268_800.0
KEY_HASH = KeyHash(b"a secret of this server")
USD = 10**9


class Office:
    """The management of an empty store, at noon of 1 January 2026; its candidates are `small` and `large`."""

    def __init__(self, store: SqliteTenants) -> None:
        self.clock = HandClock(NOW)
        self.store = store
        self.management = TenantManagement(store, KEY_HASH, self.clock, ("small", "large"))

    @property
    def registry(self) -> TenantRegistry:
        return self.management.registry()

    def acme(self, **terms: Any) -> TenantSettings:
        return self.management.create_tenant(TenantConfig(name="acme", **terms))

    def key(self, name: str | None = "laptop", **terms: Any) -> NewKey:
        return self.management.create_key("acme", KeyConfig(name=name, **terms))

    def refused(self, act: Callable[[], Any]) -> tuple[int, str | None, str | None]:
        """(status, code, param) of a refusal, which must leave everything as it was."""
        before = self.registry, self.store.marks()
        with pytest.raises(RequestError) as refusal:
            act()
        assert (self.registry, self.store.marks()) == before
        return refusal.value.status, refusal.value.code, refusal.value.param


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with closing(SqliteTenants(tmp_path / "loupe.sqlite")) as store:
        store.open()
        yield Office(store)


def test_a_tenant_is_made_with_its_terms_and_the_time(office: Office) -> None:
    made = office.acme(budget={"usd": 5, "period": "day"}, candidates=["small"], quality_weight=0.25)
    expected = TenantSettings(
        "acme",
        budgets=(Budget(5 * USD, "day"),),
        candidates=("small",),
        quality_weight=0.25,
        created_at=NOW,
        pacing=PACED,
    )
    assert made == expected
    assert office.registry == TenantRegistry({"acme": expected})


def test_a_tenant_is_made_once_and_only_of_candidates_there_are(office: Office) -> None:
    office.acme()
    assert office.refused(office.acme) == (409, "already_exists", "name")
    body = TenantConfig(name="other", candidates=("small", "huge"))
    assert office.refused(lambda: office.management.create_tenant(body)) == (400, "candidate_not_found", "candidates")


def test_a_change_of_a_tenant_leaves_what_it_does_not_name(office: Office) -> None:
    made = office.acme(
        budgets=[{"usd": 5, "period": "day"}, {"requests": 9, "period": "minute", "rolling": True}],
        candidates=["small"],
        on_infeasible="cheapest",
        pacing=False,
        exploration={"rate": 0.5},
    )
    office.clock.turn(1_000.0)
    changed = office.management.update_tenant("acme", {"quality_weight": 0.5})
    assert changed == replace(made, quality_weight=0.5)
    assert office.registry.tenant("acme") == changed


def test_one_budget_takes_the_place_of_all_of_them_and_several_do_too(office: Office) -> None:
    made = office.acme(budgets=[{"usd": 5, "period": "day"}, {"tokens": 9}])
    one = office.management.update_tenant("acme", {"budget": {"usd": 7}})
    assert one == replace(made, budgets=(Budget(7 * USD),))
    several = office.management.update_tenant("acme", {"budgets": [{"usd": 1}, {"requests": 2}]})
    assert several.budgets == (Budget(USD), Budget(2, unit="requests"))
    none = office.management.update_tenant("acme", {"budgets": []})
    assert none.budgets == ()


def test_a_tenant_keeps_its_name(office: Office) -> None:
    made = office.acme()
    assert office.management.update_tenant("acme", {"name": "other"}) == made
    assert list(office.registry.tenants) == ["acme"]


@pytest.mark.parametrize(
    ("name", "changes", "refusal"),
    [
        ("nobody", {}, (404, "tenant_not_found", "tenant")),
        ("acme", {"quality_weight": 2}, (400, "invalid_value", "quality_weight")),
        ("acme", {"colour": "red"}, (400, "invalid_value", "colour")),
        ("acme", {"candidates": ["huge"]}, (400, "candidate_not_found", "candidates")),
    ],
)
def test_a_change_of_a_tenant_that_makes_no_sense_is_refused(
    office: Office, name: str, changes: dict[str, Any], refusal: tuple[int, str, str]
) -> None:
    office.acme()
    assert office.refused(lambda: office.management.update_tenant(name, changes)) == refusal


def test_who_deletes_a_tenant_revokes_its_keys(office: Office) -> None:
    office.acme()
    key = office.key().record
    office.clock.turn(50.0)
    office.management.delete_tenant("acme")
    assert office.registry == TenantRegistry({}, {key.id: replace(key, revoked_at=NOW + 50)})
    assert office.refused(lambda: office.management.delete_tenant("acme")) == (404, "tenant_not_found", "tenant")


def test_a_key_is_made_whose_hash_alone_is_kept(office: Office) -> None:
    office.acme()
    made = office.key(expires="2026-02-01T00:00:00", budgets=[{"usd": 1}], candidates=["large"])
    assert made.record == ApiKey(
        made.record.id,
        "acme",
        "laptop",
        KEY_HASH.of(made.secret.encode()).hex(),
        created_at=NOW,
        expires_at=1_769_904_000.0,
        budgets=(Budget(USD),),
        candidates=("large",),
        origin="made",
    )
    assert office.registry.keys == {made.record.id: made.record}
    assert made.secret.startswith(KEY_PREFIX)
    assert len(made.secret) == len(KEY_PREFIX) + 43  # 32 bytes in base64
    assert made.record.id.startswith("key_")


def test_no_two_keys_are_alike_and_one_without_a_name_is_called_by_its_id(office: Office) -> None:
    office.acme()
    first, second = office.key(None), office.key(None)
    assert first.record.name == first.record.id != second.record.id
    assert first.secret != second.secret


def test_a_key_that_makes_no_sense_is_refused(office: Office) -> None:
    assert office.refused(office.key) == (404, "tenant_not_found", "tenant")
    office.acme(candidates=["small"])
    assert office.refused(lambda: office.key(candidates=["huge"])) == (400, "candidate_not_found", "candidates")
    assert office.refused(lambda: office.key(candidates=["large"])) == (400, "candidate_not_allowed", "candidates")
    office.key()
    assert office.refused(office.key) == (409, "already_exists", "name")


def test_a_name_is_free_again_once_its_key_has_ended(office: Office) -> None:
    office.acme()
    office.key(expires="2026-01-01T13:00:00")
    office.clock.turn(3_599.0)
    assert office.refused(office.key) == (409, "already_exists", "name")
    office.clock.turn(1.0)
    office.key()


def test_a_change_of_a_key_leaves_what_it_does_not_name(office: Office) -> None:
    office.acme()
    made = office.key(expires="2026-02-01T00:00:00", budgets=[{"usd": 1}], candidates=["large"]).record
    changes: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"expires": None}, {"expires_at": None}),
        ({"budgets": ()}, {"budgets": ()}),
        ({"candidates": None}, {"candidates": None}),
        ({"expires": "2026-01-02T00:00:00"}, {"expires_at": 1_767_312_000.0}),
        ({"budgets": [{"tokens": 5}]}, {"budgets": (Budget(5, unit="tokens"),)}),
        ({"candidates": ["small"]}, {"candidates": ("small",)}),
        ({"name": "laptop"}, {}),
    ]
    key = made
    for told, fields in changes:
        key = replace(key, **fields)
        assert office.management.update_key(made.id, KeyConfig.model_validate(told)) == key
        assert office.registry.key(made.id) == key


def test_a_change_of_a_key_that_makes_no_sense_is_refused(office: Office) -> None:
    office.acme()
    made = office.key().record
    update = office.management.update_key
    assert office.refused(lambda: update("key_x", KeyConfig())) == (404, "key_not_found", "id")
    assert office.refused(lambda: update(made.id, KeyConfig(name="phone"))) == (400, None, "name")
    unknown = KeyConfig(candidates=("huge",))
    assert office.refused(lambda: update(made.id, unknown)) == (400, "candidate_not_found", "candidates")
    office.management.revoke_key(made.id)
    assert office.refused(lambda: update(made.id, KeyConfig())) == (409, "key_ended", "id")


def test_a_key_is_revoked_at_the_time_of_the_first_command(office: Office) -> None:
    office.acme()
    made = office.key().record
    office.clock.turn(5.0)
    revoked = replace(made, revoked_at=NOW + 5)
    assert office.management.revoke_key(made.id) == revoked
    office.clock.turn(5.0)
    assert office.management.revoke_key(made.id) == revoked
    assert office.registry.key(made.id) == revoked
    assert office.refused(lambda: office.management.revoke_key("key_x")) == (404, "key_not_found", "id")


def test_all_keys_are_revoked_at_once_and_their_secret_is_forgotten(office: Office) -> None:
    office.store.secret(b"the secret before")
    office.acme()
    first, second, third = (office.key(name).record for name in ("a", "b", "c"))
    office.management.revoke_key(first.id)
    office.clock.turn(5.0)
    revoked = office.management.revoke_all()
    assert revoked == [replace(key, revoked_at=NOW + 5) for key in (second, third)]
    assert [key.revoked_at for key in office.registry.keys.values()] == [NOW, NOW + 5, NOW + 5]
    assert office.store.secret(b"another secret") == (b"another secret", False)


def test_a_rotated_key_has_a_successor_with_its_terms_and_ends_after_the_grace(office: Office) -> None:
    office.acme()
    old = office.key(budgets=[{"usd": 1}], candidates=["large"])
    office.store.note_used([old.record.hash], NOW + 1)
    office.clock.turn(10.0)
    new = office.management.rotate_key(old.record.id, 60.0)
    assert new.record == replace(
        old.record, id=new.record.id, hash=KEY_HASH.of(new.secret.encode()).hex(), created_at=NOW + 10
    )
    assert new.record.id != old.record.id
    ended = office.registry.key(old.record.id)
    assert ended == replace(old.record, last_used_at=NOW + 1, expires_at=NOW + 70)
    assert office.registry.key(new.record.id) == new.record
    again = lambda: office.management.rotate_key(old.record.id, 60.0)  # noqa: E731
    assert office.refused(again) == (409, "key_rotated", "id")
    office.clock.turn(60.0)
    assert office.refused(again) == (409, "key_ended", "id")


def test_what_the_file_provisions_is_changed_by_no_command(office: Office) -> None:
    declared = ConfiguredTenants([TenantSettings("acme")], [], "/etc/loupe/gateway.yaml")
    office.management.read_in(declared)
    before = office.registry
    for command in (
        lambda: office.management.update_tenant("acme", {"quality_weight": 0.1}),
        lambda: office.management.delete_tenant("acme"),
    ):
        assert office.refused(command) == (409, "provisioned", "tenant")
    assert office.registry == before


def test_a_configuration_is_read_in_at_the_time_of_the_command(office: Office) -> None:
    acme = TenantSettings("acme")
    declared = ConfiguredTenants([acme], [], "gateway.yaml")
    assert office.management.read_in(declared) == SyncResult(added=("acme",))
    assert office.registry.tenant("acme") == replace(acme, created_at=NOW)
    office.clock.turn(5.0)
    assert office.management.read_in(declared) == SyncResult()
    cheaper = ConfiguredTenants([replace(acme, quality_weight=0.1)], [], "gateway.yaml")
    assert office.management.read_in(cheaper) == SyncResult(changed=("acme",))
    assert office.registry.tenant("acme") == replace(acme, quality_weight=0.1, created_at=NOW)


def test_tenants_that_the_store_never_had_are_added_and_nothing_else_changes(office: Office) -> None:
    kept = office.acme(quality_weight=0.1)
    declared = ConfiguredTenants([TenantSettings("acme"), TenantSettings("new")], [], "gateway.yaml")
    office.clock.turn(5.0)
    office.management.read_in_new_tenants(declared)
    new = TenantSettings("new", created_at=NOW + 5)
    assert office.registry == TenantRegistry({"acme": kept, "new": new}, {}, {"new": "gateway.yaml"})
