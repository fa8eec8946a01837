"""Tenants and keys in a real Redis: the laws of every such store, a Redis that is gone, and one that was restarted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.stores.base import StoreError
from gateway.stores.redis_tenants import RedisTenants
from tests.checks.tenant_checks import FULL, TenantChecks

from .redis_server import RedisServer

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
            for ask in (store.load, store.marks, lambda: store.change(lambda roster: (roster, None))):
                with pytest.raises(StoreError, match="Redis"):
                    ask()
            with pytest.raises(StoreError, match="Redis"):
                RedisTenants(server.url).open()
            server.start()
            assert store.load()[0] == FULL
    finally:
        server.stop()
