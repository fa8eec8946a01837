"""Changes to tenants and keys: each gives another roster, or is refused and nothing has happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.billing.window import Budget
from gateway.errors import InvalidRequest, NotFoundError
from gateway.tenants.registry import (
    ApiKey,
    TenantRegistry,
    TenantSettings,
    add_key,
    add_tenant,
    put_key,
    put_tenant,
    remove_tenant,
    revoke_key,
    rotate_key,
)

NOW = 1_000.0
ACME = TenantSettings("acme", candidates=("small", "large"))
KEY = ApiKey("k1", "acme", "laptop", "aa", created_at=NOW)
ROSTER = add_key(add_tenant(TenantRegistry(), ACME), KEY, NOW)


def successor(created_at: float, key_id: str = "k2") -> ApiKey:
    return replace(KEY, id=key_id, hash=f"hash of {key_id}", created_at=created_at)


def test_a_tenant_is_added_once() -> None:
    with pytest.raises(InvalidRequest, match="'acme' already") as refused:
        add_tenant(ROSTER, ACME)
    assert (refused.value.status, refused.value.param) == (409, "name")


def test_changed_terms_leave_the_keys() -> None:
    changed = put_tenant(ROSTER, replace(ACME, quality_weight=0.1))
    assert changed.tenant("acme").quality_weight == 0.1
    assert changed.keys == ROSTER.keys
    assert ROSTER.tenant("acme").quality_weight == 0.8, "what was there is a value"


def test_a_tenant_that_is_taken_off_takes_its_keys_along() -> None:
    other = add_key(put_tenant(ROSTER, TenantSettings("other")), replace(KEY, id="k9", tenant="other", hash="99"), NOW)
    left = remove_tenant(other, "acme", NOW + 5)
    assert list(left.tenants) == ["other"]
    assert left.key("k1").revoked_at == NOW + 5
    assert left.key("k9").revoked_at is None


@pytest.mark.parametrize(
    "change",
    [
        lambda: remove_tenant(ROSTER, "nobody", NOW),
        lambda: revoke_key(ROSTER, "k0", NOW),
        lambda: add_key(ROSTER, replace(KEY, tenant="nobody"), NOW),
        lambda: rotate_key(ROSTER, "k0", successor(NOW), NOW),
    ],
)
def test_what_is_not_there_is_said(change: Callable[[], TenantRegistry]) -> None:
    with pytest.raises(NotFoundError, match="unknown "):
        change()


def test_two_standing_keys_of_a_tenant_have_two_names() -> None:
    again = replace(KEY, id="k2", hash="bb")
    with pytest.raises(InvalidRequest, match="has a key 'laptop' already"):
        add_key(ROSTER, again, NOW)
    assert add_key(revoke_key(ROSTER, "k1", NOW), again, NOW).key("k2") == again
    expired = put_key(ROSTER, replace(KEY, expires_at=NOW))
    assert add_key(expired, again, NOW).key("k2") == again


def test_one_key_is_not_two() -> None:
    with pytest.raises(InvalidRequest, match="acme/phone and acme/laptop"):
        add_key(ROSTER, replace(KEY, id="k2", name="phone"), NOW)


def test_a_key_may_use_no_more_than_its_tenant() -> None:
    with pytest.raises(InvalidRequest, match="'huge', which its tenant acme may not"):
        put_key(ROSTER, replace(KEY, candidates=("small", "huge")))
    every = put_tenant(ROSTER, replace(ACME, candidates=None))
    assert put_key(every, replace(KEY, candidates=("huge",))).key("k1").candidates == ("huge",)


def test_a_key_stands_until_it_expires_or_is_revoked() -> None:
    assert KEY.stands(1e12)
    assert replace(KEY, expires_at=NOW).stands(NOW - 0.001)
    assert not replace(KEY, expires_at=NOW).stands(NOW)
    assert not replace(KEY, revoked_at=NOW).stands(0.0)


def test_a_key_is_revoked_once() -> None:
    once = revoke_key(ROSTER, "k1", NOW)
    assert revoke_key(once, "k1", NOW + 9) == once


def test_a_rotated_key_ends_when_its_grace_does() -> None:
    rotated = rotate_key(ROSTER, "k1", successor(NOW + 1), NOW + 101)
    assert rotated.key("k1").expires_at == NOW + 101
    assert rotated.key("k2").expires_at is None
    assert [key.name for key in rotated.keys_of("acme")] == ["laptop", "laptop"]


def test_grace_makes_no_key_live_longer() -> None:
    short = put_key(ROSTER, replace(KEY, expires_at=NOW + 10))
    assert rotate_key(short, "k1", successor(NOW + 1), NOW + 101).key("k1").expires_at == NOW + 10


def test_what_has_ended_is_not_rotated() -> None:
    for ended in (revoke_key(ROSTER, "k1", NOW), put_key(ROSTER, replace(KEY, expires_at=NOW))):
        with pytest.raises(InvalidRequest, match="has ended"):
            rotate_key(ended, "k1", successor(NOW + 1), NOW + 101)


def test_a_key_in_its_grace_is_not_rotated_again() -> None:
    rotated = rotate_key(ROSTER, "k1", successor(NOW + 1), NOW + 101)
    with pytest.raises(InvalidRequest, match="rotate k2") as refused:
        rotate_key(rotated, "k1", successor(NOW + 2, "k3"), NOW + 102)
    assert refused.value.status == 409
    assert rotate_key(rotated, "k2", successor(NOW + 2, "k3"), NOW + 2).key("k2").expires_at == NOW + 2


FILE = "/etc/loupe/gateway.yaml"
OF_THE_FILE = TenantRegistry(
    {"acme": ACME, "made": TenantSettings("made")},
    {"k1": replace(KEY, origin="yaml"), "k2": replace(KEY, id="k2", name="phone", hash="bb")},
    {"acme": FILE, "acme/key/laptop": FILE},
)


def test_what_the_file_names_is_not_for_commands_to_change() -> None:
    for ask, param, named in (
        (lambda: OF_THE_FILE.own_tenant("acme"), "tenant", "'acme'"),
        (lambda: OF_THE_FILE.own_key("k1"), "id", "acme/laptop (k1)"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            ask()
        error = refused.value
        assert (error.status, error.code, error.param) == (409, "provisioned", param)
        assert f"{named} is provisioned by {FILE}: change it there" in error.message
        assert "\n" not in error.message


def test_what_commands_made_is_theirs_beside_what_the_file_names() -> None:
    assert OF_THE_FILE.own_tenant("made") == TenantSettings("made")
    assert OF_THE_FILE.own_key("k2").name == "phone"
    rotated = replace(KEY, id="k3", hash="cc")
    assert replace(OF_THE_FILE, keys={"k3": rotated}).own_key("k3") == rotated, "of a name that the file has, too"


def test_a_name_of_the_file_is_not_given_to_a_key_even_when_the_files_has_expired() -> None:
    expired = replace(OF_THE_FILE, keys={"k1": replace(KEY, origin="yaml", expires_at=NOW)})
    with pytest.raises(InvalidRequest, match="has a key 'laptop' already") as refused:
        add_key(expired, replace(KEY, id="k3", hash="cc"), NOW + 1)
    assert refused.value.status == 409


def test_what_is_not_there_is_said_before_whose_it_is() -> None:
    for ask in (lambda: OF_THE_FILE.own_tenant("nobody"), lambda: OF_THE_FILE.own_key("k0")):
        with pytest.raises(NotFoundError, match="unknown "):
            ask()


def test_a_digest_of_an_older_version_is_not_shown_for_a_path() -> None:
    older = replace(OF_THE_FILE, provisioned={"acme": "266c219fcb8ef6a8897e9ac48905ddad"})
    with pytest.raises(InvalidRequest, match="is provisioned by the configuration file: "):
        older.own_tenant("acme")


def budgeted(name: str, *budgets: Budget) -> ApiKey:
    return ApiKey(f"id of {name}", "acme", name, f"hash of {name}", created_at=NOW, budgets=budgets)


TOKENS, MONEY = Budget(1_000, unit="tokens"), Budget(500)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (budgeted("a", TOKENS), budgeted("a/tokens", MONEY)),
        (budgeted("a/tokens", MONEY), budgeted("a", TOKENS)),
        (budgeted("a/b", Budget(5, "day", "requests")), budgeted("a/b/requests", MONEY, Budget(5, "day"))),
    ],
)
def test_keys_whose_names_would_share_a_window_are_refused(first: ApiKey, second: ApiKey) -> None:
    registry = add_key(add_tenant(TenantRegistry(), ACME), first, NOW)
    with pytest.raises(InvalidRequest, match="would share the window 'acme/key/a") as refused:
        add_key(registry, second, NOW)
    assert (refused.value.status, refused.value.param) == (409, "name")
    without = add_key(registry, replace(second, budgets=()), NOW)
    with pytest.raises(InvalidRequest, match="would share the window"):
        put_key(without, second)


def test_keys_with_a_slash_in_their_names_that_share_no_window_are_fine() -> None:
    registry = add_tenant(TenantRegistry(), ACME)
    for key in (
        budgeted("a", TOKENS),
        budgeted("a/tokens", TOKENS),
        budgeted("a/b", MONEY),
        replace(budgeted("a", MONEY), id="successor", hash="cc", created_at=NOW + 1),
    ):
        registry = put_key(registry, key)
    assert len(registry.keys) == 4
