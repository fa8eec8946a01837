"""Tenants and keys in a real Redis: the laws of every such store, a Redis that is gone, and one that was restarted."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from gateway.errors import StoreError
from gateway.stores.redis.tenants import RedisTenants
from gateway.tenants.registry import TenantSettings
from tests.checks.tenant_checks import FULL, TenantChecks
from tests.gateway.stores.redis.redis_server import RedisServer

_places = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path_factory.mktemp("redis"))
    yield started
    started.stop()


@pytest.fixture
def prefix() -> str:
    return f"place{next(_places)}"


@pytest.fixture
def store(server: RedisServer, prefix: str) -> Iterator[RedisTenants]:
    with closing(RedisTenants(server.url, prefix)) as found:
        found.open()
        yield found


@pytest.fixture
def same(server: RedisServer, prefix: str) -> Iterator[RedisTenants]:
    with closing(RedisTenants(server.url, prefix)) as found:
        found.open()
        yield found


class TestRedisTenants(TenantChecks):
    pass


def test_a_redis_that_is_gone_is_an_error_and_its_data_comes_back(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    try:
        with closing(RedisTenants(server.url)) as store:
            store.open()
            store.change(lambda _: (FULL, None))
            server.kill()
            for ask in (store.load, store.marks, lambda: store.change(lambda registry: (registry, None))):
                with pytest.raises(StoreError, match="Redis"):
                    ask()
            with pytest.raises(StoreError, match="Redis"):
                RedisTenants(server.url).open()
            server.start()
            assert store.load()[0] == FULL
    finally:
        server.stop()


def test_what_an_older_version_wrote_is_read(server: RedisServer, prefix: str, store: RedisTenants) -> None:
    written = {
        "tenants": ['{"name": "acme", "budgets": [], "candidates": null, "quality_weight": 0.8, "created_at": 1.0}'],
        "keys": [
            '{"id": "k1", "tenant": "acme", "name": "laptop", "hash": "aa", "created_at": 0.0, "expires_at": null, '
            '"revoked_at": null, "budgets": [], "candidates": null, "origin": "yaml"}'
        ],
        "read": {"acme": "266c219fcb8ef6a8897e9ac48905ddad", "acme/key/laptop": "53aab4ccb0b45ba3c8b1cfcd070e8a31"},
    }
    with closing(Redis.from_url(server.url)) as redis:
        redis.set(f"{prefix}:{{tenants}}:roster", json.dumps(written))
    registry = store.load()[0]
    assert registry.tenant("acme") == TenantSettings("acme", created_at=1.0)
    assert registry.key("k1").is_provisioned
    assert registry.provisioned == written["read"]
