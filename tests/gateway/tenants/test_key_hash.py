"""The keyed hash of a key: HMAC-SHA256 of its SHA-256, as the standard library reckons it."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from gateway.tenants.key_hash import KeyHash


@given(secret=st.binary(min_size=1, max_size=200), key=st.binary(max_size=200))
def test_it_is_hmac_sha256_over_the_sha256_of_the_key(secret: bytes, key: bytes) -> None:
    plain = hashlib.sha256(key).digest()
    hashed = KeyHash(secret)
    assert hashed.of(key) == hashed.over(plain) == hmac.digest(secret, plain, "sha256")


def test_another_secret_gives_another_hash() -> None:
    assert KeyHash(b"one").of(b"key") != KeyHash(b"two").of(b"key")
