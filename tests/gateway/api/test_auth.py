"""From a key to its tenant; a key is never shown."""

from __future__ import annotations

import pytest

from gateway.api.auth import authenticate
from gateway.core.tenant import Tenant, Tenants
from gateway.errors import NotAuthenticated
from gateway.settings import hash_key

ACME = Tenant("acme", ("a",), 0.8)
TENANTS = Tenants({hash_key("sk-good"): ACME})


@pytest.mark.parametrize("header", [b"Bearer sk-good", b"bearer sk-good", b"Bearer  sk-good "])
def test_a_known_key_is_its_tenant(header: bytes) -> None:
    assert authenticate({b"authorization": header}, TENANTS) is ACME


@pytest.mark.parametrize(
    "header", [None, b"", b"Bearer", b"Bearer ", b"sk-good", b"Basic sk-good", b"Bearer sk-bad", b"Bearer \xff\xfe"]
)
def test_anything_else_is_refused_and_not_shown(header: bytes | None) -> None:
    with pytest.raises(NotAuthenticated) as refusal:
        authenticate({} if header is None else {b"authorization": header}, TENANTS)
    assert (refusal.value.status, refusal.value.code) == (401, "invalid_api_key")
    assert "sk-" not in refusal.value.message


def test_the_hash_is_no_key() -> None:
    with pytest.raises(NotAuthenticated):
        authenticate({b"authorization": b"Bearer " + hash_key("sk-good").encode()}, TENANTS)
