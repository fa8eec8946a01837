"""Machines that share a Redis and no file have the same tenants and keys, and know of changes within a second. Of two
versions of the configuration the one that was read in last counts on all of them, until another is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.secrets import hash_key
from gateway.stores.redis.tenants import RedisTenants
from tests.e2e.harness.scripted_provider import ScriptedProvider, wait_until
from tests.e2e.harness.site import KEY, OTHER_KEY, Site, serving_gateway, settings_for
from tests.gateway.stores.redis.redis_server import RedisServer

ADMIN = "admin-key-of-the-e2e-tests"
ASK: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "How many?"}]}


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    monkeypatch.setenv("LOUPE_REDIS_URL", server.url)
    monkeypatch.setenv("LOUPE_ADMIN_KEY", ADMIN)
    yield server
    server.stop()


@contextmanager
def machine(folder: Path, provider: ScriptedProvider, **changes: Any) -> Iterator[Site]:
    """A gateway with a folder and a file of its own."""
    folder.mkdir(exist_ok=True)
    raw = settings_for(folder, provider.url, **changes)
    raw["store"].update(kind="redis", redis_limit_ms=10_000)
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with serving_gateway(raw, folder, config=path) as site:
        yield site


@pytest.fixture
def machines(redis: RedisServer, provider: ScriptedProvider, tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    with machine(tmp_path / "one", provider) as one, machine(tmp_path / "two", provider) as two:
        yield one, two


def test_a_key_counts_on_every_machine_and_ends_on_every_machine(machines: tuple[Site, Site]) -> None:
    one, two = machines
    key = one.call("POST", "/admin/keys", {"tenant": "first"}, key=ADMIN).json
    wait_until(lambda: two.chat(ASK, key=key["key"]).status == 200, "the key on the other machine", 1.0)
    assert two.call("DELETE", f"/admin/keys/{key['id']}", key=ADMIN).status == 200
    wait_until(lambda: one.chat(ASK, key=key["key"]).status == 401, "its end on the first machine", 1.0)
    assert one.chat(ASK).status == 200


def test_without_redis_keys_go_on_and_changes_are_refused(machines: tuple[Site, Site], redis: RedisServer) -> None:
    one, _ = machines
    redis.kill()
    assert one.call("GET", "/v1/models", key=KEY).status == 200
    refused = one.call("POST", "/admin/keys", {"tenant": "first"}, key=ADMIN)
    assert (refused.status, refused.error["code"]) == (503, "store_unavailable")
    redis.start()
    assert one.call("POST", "/admin/keys", {"tenant": "first"}, key=ADMIN).status == 201


def test_a_redis_that_lost_its_data_locks_nobody_out(machines: tuple[Site, Site], redis: RedisServer) -> None:
    one, _ = machines
    redis.kill()
    for kept in redis.folder.rglob("*"):
        if kept.is_file() and kept.name != "redis.log":
            kept.unlink()
    redis.start()
    wait_until(lambda: any("lost tenants and keys" in line for line in one.log), "the report")
    assert one.call("GET", "/v1/models", key=KEY).status == 200


NEXT_KEY = "sk-loupe-e2e-next-0123456789"
NEXT_VERSION = [
    {"name": "first", "keys": [{"sha256": hash_key(KEY)}], "budget": {"usd": 50.0}},
    {"name": "new", "keys": [{"sha256": hash_key(NEXT_KEY)}]},
]
"""The tenants of the next version of the file: `first` may spend half as much, `other` is struck, `new` is new."""


def made_key(site: Site) -> str:
    return str(site.call("POST", "/admin/keys", {"tenant": "first"}, key=ADMIN).json["key"])


def wait_for_version(site: Site, *, next_one: bool) -> None:
    """Until this machine serves by that version of the file."""
    statuses = {OTHER_KEY: 401 if next_one else 200, NEXT_KEY: 200 if next_one else 401}
    for key, status in statuses.items():
        wait_until(
            lambda key=key, status=status: site.call("GET", "/v1/models", key=key).status == status, "the version"
        )
    assert site.usage()["limit"] == (50 if next_one else 100) * 10**9


@pytest.mark.slow
def test_a_rolling_deploy_goes_over_to_the_next_version_once(
    redis: RedisServer, provider: ScriptedProvider, tmp_path: Path
) -> None:
    with machine(tmp_path / "two", provider) as two:
        with machine(tmp_path / "one", provider) as one:
            one.chat(ASK)
            spent = one.usage()["spent"]
            assert spent > 0
        with machine(tmp_path / "one", provider, tenants=NEXT_VERSION) as one:
            for site in (one, two):  # the second machine has not been restarted yet
                wait_for_version(site, next_one=True)
            assert one.call("POST", "/admin/reload", key=ADMIN).status == 200
            for _ in range(2):  # once the second is known, the notice of the reload has been heard
                key = made_key(one)
                wait_until(lambda key=key: two.chat(ASK, key=key).status == 200, "the key on the other machine")
    with closing(RedisTenants(redis.url)) as store:
        store.open()
        files = set(store.load()[0].provisioned.values())
    assert files == {str(tmp_path / "one" / "gateway.yaml")}, "a file that is as it was is not read in over another"
    with machine(tmp_path / "one", provider, tenants=NEXT_VERSION) as one:
        wait_for_version(one, next_one=True)
        with machine(tmp_path / "two", provider, tenants=NEXT_VERSION) as two:
            for site in (one, two):
                wait_for_version(site, next_one=True)
            assert two.usage()["spent"] == one.usage()["spent"] == 3 * spent


@pytest.mark.slow
@pytest.mark.usefixtures("redis")
def test_a_restart_with_the_version_before_brings_that_one_back_until_the_next_start(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    with machine(tmp_path / "one", provider, tenants=NEXT_VERSION) as one:
        wait_for_version(one, next_one=True)
        made = made_key(one)
        for _ in range(2):
            with machine(tmp_path / "two", provider) as two:
                for site in (one, two):
                    wait_for_version(site, next_one=False)
            with machine(tmp_path / "two", provider, tenants=NEXT_VERSION) as two:
                for site in (one, two):
                    wait_for_version(site, next_one=True)
        assert one.chat(ASK, key=made).status == 200, "what a command made is touched by neither"
