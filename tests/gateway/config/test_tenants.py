"""The configuration's tenants and keys, as the roster takes them: by hash, and with the file that names them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from gateway.config.secrets import hash_key
from gateway.config.settings import Settings
from gateway.config.tenants import declared_in, declared_tenants
from gateway.errors import ConfigError
from gateway.tenants.key_hash import KeyHash
from tests.gateway.config.test_settings import GOOD

KEY_HASH = KeyHash(b"a secret of this server")


def settings(*keys: dict[str, Any]) -> Settings:
    """`GOOD`, whose tenant has these keys."""
    raw = copy.deepcopy(GOOD)
    raw["tenants"][0]["keys"] = list(keys)
    return Settings.model_validate(raw)


def test_a_key_is_known_by_its_keyed_hash_whichever_way_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOUPE_TEST_KEY", "sk-one")
    expected = KEY_HASH.of(b"sk-one").hex()
    for written in ({"env": "LOUPE_TEST_KEY"}, {"sha256": hash_key("sk-one")}):
        [key] = declared_in(settings(written), KEY_HASH, None).keys
        assert (key.hash, key.id, key.tenant) == (expected, f"key_{expected[:16]}", "acme")
        assert key.name == hash_key("sk-one")[:12]
        assert key.is_provisioned


def test_the_file_is_named_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert declared_in(settings(), KEY_HASH, Path("gateway.yaml")).file == str(tmp_path / "gateway.yaml")
    assert declared_in(settings(), KEY_HASH, None).file == "the configuration"


def test_tenants_alone_need_no_variable() -> None:
    unset = settings({"env": "LOUPE_TEST_UNSET"})
    assert [terms.name for terms in declared_tenants(unset, None).tenants] == ["acme"]
    with pytest.raises(ConfigError, match="LOUPE_TEST_UNSET is not set"):
        declared_in(unset, KEY_HASH, None)


def test_a_key_that_stands_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOUPE_TEST_KEY", "sk-one")
    twice = settings({"env": "LOUPE_TEST_KEY", "name": "a"}, {"sha256": hash_key("sk-one"), "name": "b"})
    with pytest.raises(ConfigError, match="tenant acme: one of its keys appears twice"):
        declared_in(twice, KEY_HASH, None)
