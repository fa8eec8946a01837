"""Digests of the configuration's sections: what was read in by an older version is not read in anew."""

from __future__ import annotations

import copy
from typing import Any

from gateway.core.key_hash import KeyHash
from gateway.declared import declared_in
from gateway.settings import Settings
from tests.gateway.test_settings import GOOD

KEY_HASH = KeyHash(b"a secret of this server")
OLD = "266c219fcb8ef6a8897e9ac48905ddad"
"""Of the tenant of `GOOD`, by the version before pacing and exploration could be set."""


def digest(**terms: Any) -> str:
    raw = copy.deepcopy(GOOD)
    raw["tenants"][0].update(terms)
    return declared_in(Settings.model_validate(raw), KEY_HASH).digests["acme"]


def test_a_section_that_says_nothing_new_has_the_digest_it_had() -> None:
    assert digest() == digest(pacing=True, exploration=False) == OLD


def test_a_section_that_says_something_new_has_another() -> None:
    found = {OLD, digest(pacing=False), digest(pacing={"burst": 0.1}), digest(exploration=True)}
    assert len(found) == 4
