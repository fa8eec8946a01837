"""How the configuration gets into the roster: what the file names is the file's, what commands made is theirs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.billing.window import Budget
from gateway.errors import InvalidRequest
from gateway.tenants.provisioning import ConfiguredTenants, SyncResult, read_in, read_in_new_tenants
from gateway.tenants.registry import (
    ApiKey,
    TenantRegistry,
    TenantSettings,
    mark_of,
    put_key,
    put_tenant,
    remove_tenant,
    revoke_key,
    rotate_key,
)

FILE, ANOTHER_FILE = "/etc/loupe/gateway.yaml", "/etc/loupe/next.yaml"
DIGEST = "266c219fcb8ef6a8897e9ac48905ddad"
"""What an older version wrote of a section in place of the path of its file."""
ACME, OTHER = TenantSettings("acme"), TenantSettings("other")
KEY = ApiKey("k1", "acme", "laptop", "aa", created_at=0.0, origin="yaml")
MADE = ApiKey("m1", "acme", "phone", "bb", created_at=50.0)


def declared(*sections: TenantSettings | ApiKey, file: str = FILE) -> ConfiguredTenants:
    """A configuration of these."""
    tenants = [each for each in sections if isinstance(each, TenantSettings)]
    return ConfiguredTenants(tenants, [each for each in sections if isinstance(each, ApiKey)], file)


def read(
    registry: TenantRegistry, *sections: TenantSettings | ApiKey, now: float = 100.0, file: str = FILE
) -> TenantRegistry:
    return read_in(registry, declared(*sections, file=file), now)[0]


def told(registry: TenantRegistry, *sections: TenantSettings | ApiKey) -> SyncResult:
    return read_in(registry, declared(*sections), 100.0)[1]


def refusal(registry: TenantRegistry, *sections: TenantSettings | ApiKey) -> str:
    with pytest.raises(InvalidRequest) as refused:
        read(registry, *sections)
    assert (refused.value.status, refused.value.code) == (409, "already_exists")
    assert "\n" not in refused.value.message
    return refused.value.message


def of_older_version(registry: TenantRegistry) -> TenantRegistry:
    return replace(registry, provisioned=dict.fromkeys(registry.provisioned, DIGEST))


STARTED = read(TenantRegistry(), ACME, KEY)


def test_what_the_file_names_is_added_and_is_the_files() -> None:
    assert STARTED.tenant("acme").created_at == 100.0
    assert STARTED.key("k1").stands(100.0)
    assert STARTED.key("k1").created_at == 100.0
    assert STARTED.key("k1").is_provisioned
    assert STARTED.provisioned == {"acme": FILE, "acme/key/laptop": FILE}
    assert told(TenantRegistry(), ACME, KEY) == SyncResult(added=("acme", "acme/key/laptop"))


def test_reading_the_same_again_changes_nothing() -> None:
    assert read(STARTED, ACME, KEY, now=200.0) == STARTED
    assert told(STARTED, ACME, KEY) == SyncResult()


def test_what_the_file_changes_is_changed() -> None:
    edited, longer = replace(ACME, quality_weight=0.6), replace(KEY, expires_at=900.0)
    after = read(STARTED, edited, longer, now=300.0)
    assert after.tenant("acme") == replace(edited, created_at=100.0)
    assert after.key("k1") == replace(longer, created_at=100.0)
    assert told(STARTED, edited, KEY) == SyncResult(changed=("acme",))
    assert told(STARTED, ACME, longer) == SyncResult(changed=("acme/key/laptop",))


def test_what_is_struck_from_the_file_stops() -> None:
    without_key = read(STARTED, ACME, now=300.0)
    assert without_key.key("k1").revoked_at == 300.0
    assert not without_key.key("k1").is_provisioned
    assert without_key.provisioned == {"acme": FILE}
    assert told(STARTED, ACME) == SyncResult(removed=("acme/key/laptop",))
    assert read(STARTED).tenants == {}
    assert read(STARTED, now=300.0).key("k1").revoked_at == 300.0


def test_a_tenant_that_is_struck_takes_the_keys_along_that_commands_made() -> None:
    registry = put_key(put_tenant(put_key(STARTED, MADE), OTHER), replace(MADE, id="m2", tenant="other", hash="cc"))
    left = read(registry, now=300.0)
    assert left.key("m1").revoked_at == 300.0
    assert left.key("m2").stands(300.0)


def test_what_is_struck_and_named_again_comes_back_as_the_same_key() -> None:
    used = put_key(STARTED, replace(STARTED.key("k1"), last_used_at=77.0))
    back = read(read(used, now=200.0), ACME, KEY, now=300.0)
    assert back.key("k1") == replace(KEY, created_at=100.0, last_used_at=77.0)
    assert list(back.keys) == ["k1"]


def test_what_commands_made_is_never_touched() -> None:
    registry = put_key(put_tenant(put_key(STARTED, MADE), OTHER), replace(MADE, id="m2", tenant="other", hash="cc"))
    for sections in ((ACME, KEY), (ACME,), (replace(ACME, quality_weight=0.1), replace(KEY, expires_at=5.0))):
        left = read(registry, *sections)
        assert left.key("m1") == MADE
        assert left.tenant("other") == OTHER
        assert left.key("m2").stands(100.0)


def test_another_key_under_the_same_name_takes_the_place_of_the_first_and_back() -> None:
    another = replace(KEY, id="k2", hash="bb")
    after = read(STARTED, ACME, another, now=300.0)
    assert after.key("k1").revoked_at == 300.0
    assert after.key("k2").stands(300.0)
    back = read(after, ACME, KEY, now=400.0)
    assert back.key("k1").stands(400.0)
    assert back.key("k2").revoked_at == 400.0


def test_two_keys_of_the_file_may_swap_their_names() -> None:
    desk = replace(KEY, id="k2", name="desk", hash="bb")
    both = read(TenantRegistry(), ACME, KEY, desk)
    after = read(both, ACME, replace(KEY, name="desk"), replace(desk, name="laptop"), now=300.0)
    assert {key.id: (key.name, key.stands(300.0)) for key in after.keys.values()} == {
        "k1": ("desk", True),
        "k2": ("laptop", True),
    }


def test_a_key_that_gets_another_name_or_tenant_is_the_same_key() -> None:
    for moved in (replace(KEY, name="desk"), replace(KEY, tenant="other")):
        after = read(STARTED, ACME, OTHER, moved, now=300.0)
        assert after.key("k1") == replace(moved, created_at=100.0)
        assert list(after.keys) == ["k1"]


def test_a_tenant_that_a_command_made_is_not_taken_by_the_file() -> None:
    said = refusal(put_tenant(STARTED, OTHER), ACME, OTHER, KEY)
    assert FILE in said
    assert "'other'" in said
    assert "command" in said
    gone = remove_tenant(put_tenant(STARTED, OTHER), "other", 150.0)
    assert read(gone, ACME, OTHER, KEY).provisioned["other"] == FILE


def test_a_key_that_a_command_made_is_not_taken_by_the_file() -> None:
    registry = put_key(put_tenant(STARTED, OTHER), MADE)
    named_alike = replace(KEY, id="k2", name="phone", hash="cc")
    said = refusal(registry, ACME, named_alike)
    assert FILE in said
    assert "acme/phone" in said
    assert "m1" in said
    assert read(revoke_key(registry, "m1", 60.0), ACME, named_alike).key("k2").stands(100.0)
    for same in (replace(KEY, id="k2", name="desk", hash="bb"), replace(KEY, id="k2", name="phone", hash="bb")):
        said = refusal(revoke_key(registry, "m1", 60.0), ACME, same)
        assert f"acme/{same.name}" in said
        assert "acme/phone (m1)" in said, "who ended a key means it"


def test_a_key_of_the_file_does_not_become_one_that_a_command_made_for_another_tenant() -> None:
    registry = put_key(put_tenant(STARTED, OTHER), replace(MADE, tenant="other"))
    said = refusal(registry, ACME, replace(KEY, hash="bb"))
    assert "acme/laptop" in said
    assert "other/phone (m1)" in said


def test_a_key_of_the_file_follows_it_where_a_command_once_made_one_of_its_name() -> None:
    was_made = revoke_key(put_key(STARTED, replace(MADE, name="desk")), "m1", 60.0)
    desk = replace(KEY, id="k2", name="desk", hash="cc", expires_at=500.0)
    once = read(was_made, ACME, KEY, desk)
    longer = replace(desk, expires_at=900.0)
    assert read(once, ACME, KEY, longer, now=600.0).key("k2").stands(700.0)


def test_the_file_that_was_read_in_last_counts() -> None:
    """Two versions of the file in a rolling deploy: each reading gives what its file says, nothing is made twice."""
    second = replace(KEY, id="k2", name="desk", hash="cc")
    first_file, next_file = (ACME, KEY), (replace(ACME, quality_weight=0.1), OTHER, second)
    one = read(STARTED, *next_file, now=200.0, file=ANOTHER_FILE)
    assert one.provisioned == dict.fromkeys(("acme", "other", "acme/key/desk"), ANOTHER_FILE)
    assert [key.id for key in one.keys.values() if key.stands(200.0)] == ["k2"]
    back = read(one, *first_file, now=300.0)
    assert (back.tenants, back.provisioned) == (STARTED.tenants, STARTED.provisioned)
    assert [key.id for key in back.keys.values() if key.stands(300.0)] == ["k1"]
    again = read(back, *next_file, now=400.0, file=ANOTHER_FILE)
    assert again.keys.keys() == one.keys.keys()
    assert [key.id for key in again.keys.values() if key.stands(400.0)] == ["k2"]
    assert read(again, *next_file, now=500.0, file=ANOTHER_FILE) == again


def test_the_same_file_in_another_place_changes_nothing_but_the_place() -> None:
    registry, readings = read_in(STARTED, declared(ACME, KEY, file=ANOTHER_FILE), 200.0)
    assert readings == SyncResult()
    assert replace(registry, provisioned=STARTED.provisioned) == STARTED


def test_before_a_gateway_ran_the_files_tenants_are_known_without_their_keys() -> None:
    fresh = read_in_new_tenants(TenantRegistry(), declared(ACME), 100.0)
    assert fresh.provisioned == {"acme": FILE}
    assert read(fresh, ACME, KEY, now=200.0).tenant("acme").created_at == 100.0
    made = put_tenant(STARTED, OTHER)
    changed = declared(replace(ACME, quality_weight=0.1), replace(OTHER, quality_weight=0.1))
    assert read_in_new_tenants(made, changed, 200.0) == made, "what is there is left to the gateway"


class TestAfterAnOlderVersion:
    """That version let commands change what the file names, and remembered digests."""

    def test_what_commands_changed_is_as_the_file_says_again(self) -> None:
        edited = of_older_version(put_tenant(STARTED, replace(ACME, quality_weight=0.1, created_at=100.0)))
        assert read(edited, ACME, KEY) == STARTED
        assert told(edited, ACME, KEY) == SyncResult(changed=("acme",))

    def test_a_tenant_that_a_command_took_off_comes_back_without_its_revoked_keys(self) -> None:
        gone = of_older_version(remove_tenant(STARTED, "acme", 150.0))
        back = read(gone, ACME, KEY, now=200.0)
        assert back.tenant("acme").created_at == 200.0
        assert back.key("k1").revoked_at == 150.0
        assert told(gone, ACME, KEY) == SyncResult(changed=("acme",), left=("acme/key/laptop",))

    def test_a_key_that_a_command_revoked_stays_revoked_until_it_is_struck_and_named_again(self) -> None:
        registry = of_older_version(revoke_key(STARTED, "k1", 150.0))
        for now in (200.0, 300.0):
            assert told(registry, ACME, KEY) == SyncResult(left=("acme/key/laptop",))
            registry = read(registry, ACME, KEY, now=now)
            assert registry.key("k1").revoked_at == 150.0
        assert read(read(registry, ACME, now=400.0), ACME, KEY, now=500.0).key("k1").stands(500.0)

    def test_another_key_in_the_place_of_a_revoked_one_stands(self) -> None:
        desk = replace(KEY, id="k2", name="desk", hash="bb")
        both = read(read(TenantRegistry(), ACME, KEY, desk), ACME, KEY, now=120.0)
        registry = of_older_version(revoke_key(both, "k1", 150.0))
        after = read(registry, ACME, replace(desk, name="laptop"), now=200.0)
        assert after.key("k2").stands(200.0), "the file had struck it, no command"
        assert after.key("k1").revoked_at == 150.0

    def test_a_key_that_a_command_rotated_ends_after_its_grace_and_its_successor_goes_on(self) -> None:
        successor = replace(KEY, id="m2", hash="cc", created_at=120.0, origin="made")
        registry = of_older_version(rotate_key(STARTED, "k1", successor, 400.0))
        for now in (200.0, 500.0):
            assert told(registry, ACME, KEY) == SyncResult(left=("acme/key/laptop",))
            registry = read(registry, ACME, KEY, now=now)
            assert registry.key("k1").expires_at == 400.0
            assert registry.key("m2").stands(now)
        struck = read(registry, ACME, now=600.0)
        assert struck.key("m2").stands(600.0)

    def test_what_it_left_to_the_store_becomes_the_files(self) -> None:
        made = put_key(
            put_tenant(TenantRegistry(), replace(ACME, quality_weight=0.1)), replace(KEY, id="m1", origin="made")
        )
        left = replace(made, provisioned={"acme": DIGEST, mark_of(KEY): DIGEST})
        after = read(left, ACME, KEY)
        assert after.tenant("acme").quality_weight == ACME.quality_weight
        assert after.key("m1").is_provisioned
        assert list(after.keys) == ["m1"]

    def test_what_the_file_names_no_longer_is_taken_off_and_all_else_stays(self) -> None:
        registry = of_older_version(put_key(put_tenant(STARTED, OTHER), MADE))
        left = read(registry, ACME, now=300.0)
        assert left.key("k1").revoked_at == 300.0
        assert (left.key("m1"), left.tenant("other")) == (MADE, OTHER)


def test_keys_that_would_share_a_window_are_refused() -> None:
    first = replace(KEY, id="k2", hash="k2", name="a", budgets=(Budget(5, unit="tokens"),))
    second = replace(KEY, id="k3", hash="k3", name="a/tokens", budgets=(Budget(5),))
    assert "'a' and 'a/tokens' would share the window 'acme/key/a/tokens/total'" in refusal(
        TenantRegistry(), ACME, first, second
    )
    made = put_key(STARTED, replace(first, origin="made"))
    assert "would share the window" in refusal(made, ACME, KEY, second)
    ended = replace(made, keys={**made.keys, "k2": replace(made.keys["k2"], revoked_at=1.0)})
    assert read(ended, ACME, KEY, second).key("k3").budgets
