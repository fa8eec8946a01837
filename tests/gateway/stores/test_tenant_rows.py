"""The secret that keys are hashed with, as a store knows it."""

from __future__ import annotations

import hmac

import pytest

from gateway.errors import ConfigError
from gateway.stores.tenant_rows import CHECKED_TEXT, KeptSecret, settle_secret

SECRET = b"given by a file"


def used_before(secret: bytes) -> KeptSecret:
    return KeptSecret(check=hmac.digest(secret, CHECKED_TEXT, "sha256").hex())


def test_a_secret_that_keys_were_hashed_with_newline_and_all_goes_on_so() -> None:
    kept = used_before(SECRET + b"\n")
    assert settle_secret(SECRET + b"\n", kept, "here") == (SECRET + b"\n", kept)
    with pytest.raises(ConfigError, match="another secret"):
        settle_secret(SECRET, kept, "here")


@pytest.mark.parametrize("given", [SECRET, SECRET + b"\n", b" " + SECRET + b"\r\n"])
def test_otherwise_space_around_it_does_not_count(given: bytes) -> None:
    assert settle_secret(given, used_before(SECRET), "here")[0] == SECRET
    assert settle_secret(given, KeptSecret(), "here") == (SECRET, used_before(SECRET))
