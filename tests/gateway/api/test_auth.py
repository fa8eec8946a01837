"""From a key to its tenant; a key is never shown."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from gateway.api.auth import authenticate, caller
from gateway.errors import AuthenticationError, RequestError
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.tenant import Tenant, Tenants

ACME = Tenant("acme", ("a",), 0.8)
KEY_HASH = KeyHash(b"a secret of this server")
GOOD = KEY_HASH.of(b"sk-good")


@pytest.fixture
def tenants() -> Tenants:
    return Tenants(KEY_HASH, {GOOD: ACME})


@pytest.mark.parametrize("header", [b"Bearer sk-good", b"bearer sk-good", b"Bearer  sk-good "])
def test_a_known_key_is_its_tenant(header: bytes, tenants: Tenants) -> None:
    assert authenticate({b"authorization": header}, tenants) is ACME


@pytest.mark.parametrize(
    "header", [None, b"", b"Bearer", b"Bearer ", b"sk-good", b"Basic sk-good", b"Bearer sk-bad", b"Bearer \xff\xfe"]
)
def test_anything_else_is_refused_and_not_shown(header: bytes | None, tenants: Tenants) -> None:
    with pytest.raises(AuthenticationError) as refusal:
        authenticate({} if header is None else {b"authorization": header}, tenants)
    assert (refusal.value.status, refusal.value.code) == (401, "invalid_api_key")
    assert "sk-" not in refusal.value.message
    assert tenants.take_used() == set()


def test_the_hash_is_no_key(tenants: Tenants) -> None:
    for form in (GOOD, GOOD.hex().encode()):
        with pytest.raises(AuthenticationError):
            authenticate({b"authorization": b"Bearer " + form}, tenants)


def test_the_use_of_a_key_is_noted_once(tenants: Tenants) -> None:
    for _ in range(3):
        authenticate({b"authorization": b"Bearer sk-good"}, tenants)
    assert tenants.take_used() == {GOOD}
    assert tenants.take_used() == set()


def test_a_key_that_is_taken_off_is_not_known_any_more(tenants: Tenants) -> None:
    tenants.replace({})
    with pytest.raises(AuthenticationError):
        authenticate({b"authorization": b"Bearer sk-good"}, tenants)


def test_an_expired_key_says_so() -> None:
    expired = Tenants(KEY_HASH, {GOOD: Tenant("acme", ("a",), 0.8, expires_at=1.0)})
    with pytest.raises(AuthenticationError) as refusal:
        authenticate({b"authorization": b"Bearer sk-good"}, expired)
    assert refusal.value.code == "expired_api_key"


def test_a_route_is_told_who_calls(tenants: Tenants) -> None:
    assert caller(asked_with(b"Bearer sk-good"), tenants) is ACME
    with pytest.raises(AuthenticationError):
        caller(asked_with(b"Bearer sk-bad"), tenants)


def test_nobody_is_known_while_the_service_starts() -> None:
    with pytest.raises(RequestError) as refusal:
        caller(asked_with(b"Bearer sk-good"), None)
    assert (refusal.value.status, refusal.value.code) == (503, "starting")


def asked_with(authorization: bytes) -> Request:
    return Request({"type": "http", "headers": [(b"host", b"here"), (b"authorization", authorization)]})
