"""Machines that share a Redis and no file have the same tenants and keys, and know of changes within a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.stores.redis_server import RedisServer

from .scripted_provider import ScriptedProvider, wait_until
from .site import KEY, Site, serving_gateway, settings_for

ADMIN = "admin-key-of-the-e2e-tests"
ASK: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "How many?"}]}


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    monkeypatch.setenv("LOUPE_REDIS_URL", server.url)
    monkeypatch.setenv("LOUPE_ADMIN_KEY", ADMIN)
    yield server
    server.stop()


@pytest.fixture
def machines(redis: RedisServer, provider: ScriptedProvider, tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    folders = [tmp_path / "one", tmp_path / "two"]
    raws = []
    for folder in folders:
        folder.mkdir()
        raw = settings_for(folder, provider.url)
        raw["store"].update(kind="redis", redis_limit_ms=10_000)
        raws.append(raw)
    with serving_gateway(raws[0], folders[0]) as one, serving_gateway(raws[1], folders[1]) as two:
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
