"""How the configuration is read into the roster: what is new or changed there counts, all else is as it was left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.roster import ApiKey, Roster, TenantTerms, put_key, put_tenant, remove_tenant, revoke_key
from gateway.core.yaml_roster import Declared, Readings, mark_of, read_in

ACME, OTHER = TenantTerms("acme"), TenantTerms("other")
KEY = ApiKey("k1", "acme", "laptop", "aa", created_at=0.0, origin="yaml")


def declared(*sections: TenantTerms | ApiKey) -> Declared:
    """A configuration of these; a section's digest is its text."""
    tenants = [each for each in sections if isinstance(each, TenantTerms)]
    keys = [each for each in sections if isinstance(each, ApiKey)]
    digests = {each.name if isinstance(each, TenantTerms) else mark_of(each): repr(each) for each in sections}
    return Declared(tenants, keys, digests)


def read(roster: Roster, *sections: TenantTerms | ApiKey, now: float = 100.0, always: bool = False) -> Roster:
    return read_in(roster, declared(*sections), now, always=always)[0]


def told(roster: Roster, *sections: TenantTerms | ApiKey, always: bool = False) -> Readings:
    return read_in(roster, declared(*sections), 100.0, always=always)[1]


STARTED = read(Roster(), ACME, KEY)


def test_what_is_new_is_added() -> None:
    assert STARTED.tenant("acme").created_at == 100.0
    assert STARTED.key("k1").stands(100.0)
    assert told(Roster(), ACME, KEY) == Readings(added=("acme", "acme/key/laptop"))


def test_reading_the_same_again_changes_nothing() -> None:
    assert read(STARTED, ACME, KEY, now=200.0) == STARTED
    assert told(STARTED, ACME, KEY) == Readings()


def test_what_commands_changed_stays_while_the_file_says_the_same() -> None:
    changed = put_tenant(STARTED, replace(ACME, quality_weight=0.1))
    assert read(changed, ACME, KEY) == changed
    revoked = revoke_key(STARTED, "k1", 150.0)
    assert read(revoked, ACME, KEY) == revoked
    gone = remove_tenant(STARTED, "acme", 150.0)
    assert read(gone, ACME, KEY) == gone


def test_what_the_file_changes_counts() -> None:
    changed = put_tenant(STARTED, replace(ACME, quality_weight=0.1, created_at=100.0))
    edited = replace(ACME, quality_weight=0.6)
    assert read(changed, edited, KEY).tenant("acme") == replace(edited, created_at=100.0)
    assert told(changed, edited, KEY) == Readings(changed=("acme",))


def test_with_always_the_file_counts_each_time() -> None:
    changed = revoke_key(put_tenant(STARTED, replace(ACME, quality_weight=0.1)), "k1", 150.0)
    again = read(changed, ACME, KEY, always=True)
    assert again.tenant("acme").quality_weight == ACME.quality_weight
    assert again.key("k1").stands(200.0)
    gone = read(remove_tenant(STARTED, "acme", 150.0), ACME, KEY, always=True)
    assert gone.key("k1").stands(200.0)


def test_what_is_struck_from_the_file_stops() -> None:
    without_key = read(STARTED, ACME, now=300.0)
    assert without_key.key("k1").revoked_at == 300.0
    assert told(STARTED, ACME) == Readings(removed=("acme/key/laptop",))
    assert read(STARTED).tenants == {}
    assert read(STARTED, now=300.0).key("k1").revoked_at == 300.0


def test_what_commands_made_is_never_struck() -> None:
    made = replace(KEY, id="k2", name="phone", hash="bb", origin="made")
    roster = put_key(put_tenant(STARTED, OTHER), made)
    left = read(roster, ACME)
    assert left.key("k2") == made
    assert left.tenant("other") == OTHER


def test_the_successor_of_a_struck_key_goes_on() -> None:
    successor = replace(KEY, id="k2", hash="bb", created_at=120.0, origin="made")
    left = read(put_key(STARTED, successor), ACME, now=300.0)
    assert not left.key("k1").stands(300.0)
    assert left.key("k2").stands(300.0)


def test_another_key_under_the_same_name_takes_the_place_of_the_first() -> None:
    another = replace(KEY, id="k2", hash="bb")
    after = read(STARTED, ACME, another, now=300.0)
    assert after.key("k1").revoked_at == 300.0
    assert after.key("k2").stands(300.0)


def test_a_key_that_changes_stays_the_same_key() -> None:
    used = put_key(STARTED, replace(KEY, created_at=50.0, last_used_at=77.0))
    after = read(used, ACME, replace(KEY, id="whatever", expires_at=900.0)).key("k1")
    assert (after.expires_at, after.last_used_at, after.created_at) == (900.0, 77.0, 50.0)


def test_what_the_store_had_first_is_left_and_said() -> None:
    made = put_key(put_tenant(Roster(), replace(ACME, quality_weight=0.1)), replace(KEY, origin="made"))
    assert told(made, ACME, KEY) == Readings(left=("acme", "acme/key/laptop"))
    after = read(made, ACME, KEY)
    assert after.tenant("acme").quality_weight == 0.1
    assert after.key("k1").origin == "made"
    assert told(after, ACME, KEY) == Readings(), "it is said once"


def test_a_tenant_that_comes_back_brings_its_keys() -> None:
    gone = remove_tenant(STARTED, "acme", 150.0)
    back = read(gone, replace(ACME, quality_weight=0.3), KEY)
    assert back.key("k1").stands(200.0)


@pytest.mark.parametrize("always", [False, True])
def test_reading_twice_is_reading_once(always: bool) -> None:
    start = put_tenant(STARTED, OTHER)
    once = read(start, ACME, replace(KEY, expires_at=5_000.0), OTHER, always=always)
    assert read(once, ACME, replace(KEY, expires_at=5_000.0), OTHER, always=always) == once
