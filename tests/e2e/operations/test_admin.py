"""/admin and the commands beside a running gateway, over real sockets: what is changed counts at once, and no key is
ever seen again.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.app.asgi import Gateway
from gateway.config.settings import Settings
from gateway.errors import ConfigError
from tests.e2e.harness.scripted_provider import ScriptedProvider, wait_until
from tests.e2e.harness.scripts import answer, wait_then
from tests.e2e.harness.site import FORECASTS, KEY, OTHER_KEY, Answer, Site, serving_gateway, settings_for
from tests.fakes.encoder import FakeEncoder
from tests.fakes.router import FakeRouter

ADMIN = "admin-key-of-the-e2e-tests"
ASK: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "How many?"}]}
SOON_S = 60.0
"""Within this every process knows."""


@pytest.fixture(autouse=True)
def admin_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOUPE_ADMIN_KEY", ADMIN)


@pytest.fixture
def site(provider: ScriptedProvider, tmp_path: Path) -> Iterator[Site]:
    with administered(tmp_path, provider) as found:
        yield found
        found.assert_no_trace()


@contextmanager
def administered(folder: Path, provider: ScriptedProvider, **changes: Any) -> Iterator[Site]:
    raw = settings_for(folder, provider.url, **changes)
    (folder / "gateway.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    with serving_gateway(raw, folder) as site:
        yield site


def admin(site: Site, method: str, path: str, body: dict[str, Any] | bytes | None = None) -> Answer:
    return site.call(method, f"/admin/{path}", body, key=ADMIN)


def made(site: Site, **body: Any) -> dict[str, Any]:
    """A key that was just made, the key itself as `key`."""
    answer = admin(site, "POST", "keys", body)
    assert answer.status == 201, answer
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json)


def made_tenant(site: Site, **body: Any) -> str:
    """A tenant that was just made, by the name of `acme`; its key."""
    assert admin(site, "POST", "tenants", {"name": "acme", **body}).status == 201
    return str(made(site, tenant="acme")["key"])


def loupe(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "gateway.cli", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_tenant_and_its_key_count_as_soon_as_they_are_made(site: Site) -> None:
    created = admin(site, "POST", "tenants", {"name": "acme", "budget": {"usd": 0.5, "period": "day"}})
    assert (created.status, created.json["name"]) == (201, "acme")
    key = made(site, tenant="acme", name="laptop")["key"]
    assert site.chat(ASK, key=key).status == 200
    assert site.call("GET", "/v1/usage", key=key).json["key"] == "laptop"
    assert {each["name"] for each in admin(site, "GET", "tenants").json["data"]} == {"first", "other", "acme"}


def test_a_revoked_key_stops_at_once(site: Site) -> None:
    key = made(site, tenant="first")
    assert site.chat(ASK, key=key["key"]).status == 200
    assert admin(site, "DELETE", f"keys/{key['id']}").json["state"] == "revoked"
    refused = site.chat(ASK, key=key["key"])
    assert (refused.status, refused.error["code"]) == (401, "invalid_api_key")
    assert site.chat(ASK).status == 200, "the tenant's other key goes on"


def test_a_request_under_way_outlives_its_key(site: Site, provider: ScriptedProvider) -> None:
    key, go_on, replies = made(site, tenant="first"), threading.Event(), []
    provider.on("small", wait_then(go_on, answer()))
    asking = threading.Thread(target=lambda: replies.append(site.chat(ASK, key=key["key"])))
    asking.start()
    provider.wait_for_calls(1)
    admin(site, "DELETE", f"keys/{key['id']}")
    go_on.set()
    asking.join()
    assert replies[0].status == 200
    site.ledger.assert_settled()


def test_a_key_expires(site: Site) -> None:
    key = made(site, tenant="first", expires="2020-01-01T00:00:00Z")
    refused = site.chat(ASK, key=key["key"])
    assert (refused.status, refused.error["code"]) == (401, "expired_api_key")
    assert admin(site, "GET", f"keys/{key['id']}").json["state"] == "expired"


def test_a_rotated_key_goes_on_for_its_grace_and_shares_its_windows(site: Site) -> None:
    old = made(site, tenant="first", name="laptop", budgets=[{"usd": 1.0}])
    site.chat(ASK, key=old["key"])
    new = admin(site, "POST", f"keys/{old['id']}/rotate", {"grace_s": 3_600}).json
    assert new["key"] != old["key"]
    assert [site.chat(ASK, key=each["key"]).status for each in (old, new)] == [200, 200]
    [windows] = [key["windows"] for key in usage_of(site, "first")["keys"] if key["name"] == "laptop"]
    assert windows[0]["spent_usd"] == pytest.approx(3 * float(site.chat(ASK).headers["x-route-cost"]))


def test_a_key_rotated_without_grace_ends_at_once(site: Site) -> None:
    old = made(site, tenant="first")
    new = admin(site, "POST", f"keys/{old['id']}/rotate").json
    assert site.chat(ASK, key=old["key"]).error["code"] == "expired_api_key"
    assert site.chat(ASK, key=new["key"]).status == 200


def test_a_changed_limit_counts_at_once_and_keeps_what_was_spent(site: Site) -> None:
    key = made_tenant(site, budget={"usd": 1.0}, quality_weight=1.0)
    cost = float(site.chat(ASK, key=key).headers["x-route-cost"])
    changed = admin(site, "PATCH", "tenants/acme", {"budget": {"usd": cost}})
    assert changed.json["budgets"][0]["usd"] == pytest.approx(cost)
    assert changed.json["quality_weight"] == 1.0, "what is not named stays"
    assert site.chat(ASK, key=key).status == 429
    assert site.usage(key)["spent"] == round(cost * 1e9)
    admin(site, "PATCH", "tenants/acme", {"budgets": []})
    assert site.chat(ASK, key=key).status == 200


def test_a_key_shows_no_more_than_its_tenant_has(site: Site) -> None:
    made_tenant(site)
    key = made(site, tenant="acme", candidates=["small", "middle"])
    admin(site, "PATCH", "tenants/acme", {"candidates": ["large", "small"]})
    names = [model["id"] for model in site.call("GET", "/v1/models", key=key["key"]).json["data"]]
    assert names == ["auto", "small"]
    admin(site, "PATCH", f"keys/{key['id']}", {"candidates": None})
    names = [model["id"] for model in site.call("GET", "/v1/models", key=key["key"]).json["data"]]
    assert names == ["auto", "large", "small"]


def test_a_tenant_that_is_taken_off_is_known_no_more(site: Site) -> None:
    key = made_tenant(site)
    assert admin(site, "DELETE", "tenants/acme").json["deleted"] is True
    assert site.chat(ASK, key=key).status == 401
    assert admin(site, "GET", "tenants/acme").error["code"] == "tenant_not_found"
    assert site.chat(ASK).status == 200


def test_usage_shows_every_tenants_windows(site: Site) -> None:
    cost = float(site.chat(ASK, key=OTHER_KEY).headers["x-route-cost"])
    rows = {row["tenant"]: row for row in admin(site, "GET", "usage").json["data"]}
    assert set(rows) == {"first", "other"}
    [window] = rows["other"]["windows"]
    assert window["spent_usd"] == pytest.approx(cost)
    assert window["held_usd"] == 0
    assert window["remaining_usd"] == pytest.approx(1 - cost)
    assert window["resets_at"] > time.time()
    assert rows["first"]["windows"][0]["spent_usd"] == 0


@pytest.mark.parametrize("key", [None, "", "wrong", KEY, ADMIN + "x", ADMIN[:-1], "\xff\xfe"])
def test_without_the_admin_key_nothing_is_told(lasting_admin: Site, key: str | None) -> None:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    for method, path in (("GET", "tenants"), ("POST", "keys"), ("POST", "reload"), ("DELETE", "tenants/first")):
        refused = lasting_admin.call(method, f"/admin/{path}", b"{not even JSON", key=None, headers=headers)
        assert (refused.status, refused.error["code"]) == (401, "invalid_admin_key")
        assert ADMIN not in refused.error["message"]


def test_the_admin_key_is_no_tenants_key(site: Site) -> None:
    assert site.chat(ASK, key=ADMIN).status == 401
    refused = site.call("GET", "/admin/tenants", key=KEY)
    assert (refused.status, refused.error["code"]) == (401, "invalid_admin_key")


def test_admin_is_closed_while_no_key_is_set(
    provider: ScriptedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("LOUPE_ADMIN_KEY")
        else:
            monkeypatch.setenv("LOUPE_ADMIN_KEY", value)
        with administered(tmp_path, provider) as site:
            for key in (ADMIN, "", None):
                refused = site.call("GET", "/admin/tenants", key=key)
                assert (refused.status, refused.error["code"]) == (403, "admin_closed")
                assert "LOUPE_ADMIN_KEY" in refused.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param", "shown"),
    [
        ("POST", "tenants", {}, 400, "name", "Field required"),
        ("POST", "tenants", {"name": "a/b"}, 400, "name", "a/b"),
        ("POST", "tenants", {"name": "first"}, 409, "name", "'first' already"),
        ("POST", "tenants", {"name": "a", "quality_weight": 2}, 400, "quality_weight", "2"),
        ("POST", "tenants", {"name": "a", "budgets": [{"usd": -1}]}, 400, "budgets[0].usd", "-1"),
        ("POST", "tenants", {"name": "a", "budget": {"usd": 1, "tokens": 5}}, 400, "budget", "one of"),
        ("POST", "tenants", {"name": "a", "candidates": ["gpt-none"]}, 400, "candidates", "gpt-none"),
        ("POST", "tenants", {"name": "a", "limit": 5}, 400, "limit", "Extra inputs"),
        ("POST", "tenants", b"[]", 400, None, "object"),
        ("POST", "tenants", b"{", 400, None, "JSON"),
        ("POST", "tenants", b"\xff", 400, None, "JSON"),
        ("POST", "tenants", b"[" * 100_000, 400, None, "JSON"),
        ("POST", "tenants", b" " * 2_000_000, 413, None, "limit"),
        ("PATCH", "tenants/made", {"on_infeasible": "guess"}, 400, "on_infeasible", "guess"),
        ("PATCH", "tenants/nobody", {}, 404, "tenant", "nobody"),
        ("DELETE", "tenants/nobody", None, 404, "tenant", "nobody"),
        ("POST", "keys", {"tenant": "nobody"}, 404, "tenant", "nobody"),
        ("POST", "keys", {"tenant": "first", "expires": "soon"}, 400, "expires", "soon"),
        ("POST", "keys", {"tenant": "first", "candidates": ["gpt-none"]}, 400, "candidates", "gpt-none"),
        ("DELETE", "keys/key_none", None, 404, "id", "key_none"),
        ("POST", "keys/key_none/rotate", {"grace_s": -1}, 400, "grace_s", "-1"),
        ("POST", "keys/key_none/rotate", {}, 404, "id", "key_none"),
        ("GET", "keys?tenant=nobody", None, 404, "tenant", "nobody"),
        ("GET", "usage?tenant=nobody", None, 404, "tenant", "nobody"),
        ("POST", "reload", None, 400, None, "not started from a file"),
        ("GET", "nothing", None, 404, None, "Not Found"),
    ],
)
def test_faults_are_named_with_their_member_and_value(
    lasting_admin: Site, method: str, path: str, body: Any, status: int, param: str | None, shown: str
) -> None:
    refused = admin(lasting_admin, method, path, body)
    assert (refused.status, refused.error["param"]) == (status, param)
    assert shown in refused.error["message"]


def test_a_member_that_stands_twice_is_refused(lasting_admin: Site) -> None:
    body = b'{"name": "twice", "budgets": [{"usd": 5, "usd": 500}]}'
    refused = admin(lasting_admin, "POST", "tenants", body)
    assert (refused.status, refused.error["param"]) == (400, "usd")
    assert "'usd' appears twice" in refused.error["message"]


@pytest.fixture(scope="module")
def lasting_admin(shared_provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("admin")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOUPE_ADMIN_KEY", ADMIN)
        with serving_gateway(settings_for(folder, shared_provider.url), folder) as site:
            assert admin(site, "POST", "tenants", {"name": "made"}).status == 201
            yield site


def test_keys_made_side_by_side_all_count(site: Site) -> None:
    keys: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: keys.append(made(site, tenant="first"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key["key"] for key in keys}) == len({key["id"] for key in keys}) == 12
    assert {site.chat(ASK, key=key["key"]).status for key in keys} == {200}
    shown = admin(site, "GET", "keys?tenant=first").json["data"]
    assert {key["id"] for key in keys} <= {key["id"] for key in shown}


def test_two_of_one_name_side_by_side_are_one(site: Site) -> None:
    answers: list[int] = []

    def make() -> None:
        answers.append(admin(site, "POST", "keys", {"tenant": "first", "name": "one"}).status)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, 409, 409, 409, 409, 409]


@pytest.mark.slow
def test_what_commands_change_counts_in_a_running_gateway_soon(site: Site) -> None:
    config = ("--config", str(site.folder / "gateway.yaml"))
    loupe("tenants", "create", "acme", "--budget", "usd=1,period=day", *config)
    shown = dict(
        line.split(":", 1) for line in loupe("keys", "create", "--tenant", "acme", *config).splitlines() if ":" in line
    )
    key, key_id = shown["key"].strip(), shown["id"].strip()
    wait_until(lambda: site.chat(ASK, key=key).status == 200, "the command's key", SOON_S)
    loupe("tenants", "update", "acme", "--no-budgets", *config)
    wait_until(lambda: site.call("GET", "/v1/usage", key=key).json["windows"] == [], "the change", SOON_S)
    loupe("keys", "revoke", key_id, *config)
    wait_until(lambda: site.chat(ASK, key=key).status == 401, "the end of the command's key", SOON_S)
    assert site.chat(ASK).status == 200


def test_what_was_changed_stays_over_a_restart(provider: ScriptedProvider, tmp_path: Path) -> None:
    with administered(tmp_path, provider) as site:
        key, gone = made(site, tenant="first", name="kept"), made(site, tenant="first", name="gone")
        admin(site, "DELETE", f"keys/{gone['id']}")
        acme = made_tenant(site, budget={"usd": 1.0})
        admin(site, "PATCH", "tenants/acme", {"budget": {"usd": 7.0}})
        site.chat(ASK, key=acme)
        spent = site.usage(acme)["spent"]
        assert spent > 0
    with administered(tmp_path, provider) as site:
        assert site.usage(acme) == {"limit": 7 * 10**9, "spent": spent, "held": 0, "remaining": 7 * 10**9 - spent}
        assert site.chat(ASK, key=key["key"]).status == 200
        assert site.chat(ASK, key=gone["key"]).status == 401


def test_when_a_key_was_used_last_is_noted(provider: ScriptedProvider, tmp_path: Path) -> None:
    with administered(tmp_path, provider) as site:
        used, unused = made(site, tenant="first"), made(site, tenant="first")
        site.chat(ASK, key=used["key"])
    with administered(tmp_path, provider) as site:
        assert admin(site, "GET", f"keys/{used['id']}").json["last_used_at"] is not None
        assert admin(site, "GET", f"keys/{unused['id']}").json["last_used_at"] is None


@pytest.mark.parametrize("secret", [None, "a-secret-of-the-server-0123456789"])
def test_no_key_is_seen_again(
    provider: ScriptedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    secret: str | None,
) -> None:
    if secret is not None:
        monkeypatch.setenv("LOUPE_KEY_SECRET", secret)
    caplog.set_level(logging.DEBUG)
    with administered(tmp_path, provider) as site:
        first = made(site, tenant="first")
        second = admin(site, "POST", f"keys/{first['id']}/rotate", {"grace_s": 60}).json
        for key in (first["key"], second["key"], "sk-wrong-key"):
            site.chat(ASK, key=key)
        site.call("GET", "/admin/tenants", key="sk-wrong-admin")
        seen = [admin(site, "GET", path).body for path in ("keys", "tenants", "usage", f"keys/{first['id']}")]
        seen += [site.call("GET", "/metrics", key=None).body, "\n".join(site.log).encode()]
        site.ledger.last_outcome(2)
        seen += [each.read_bytes() for each in tmp_path.iterdir() if each.name != "gateway.yaml"]
        assert any(each.name.endswith("-wal") for each in tmp_path.iterdir())
    seen += [each.read_bytes() for each in tmp_path.iterdir() if each.name != "gateway.yaml"]
    for text in (first["key"], second["key"], ADMIN, "sk-wrong-key", "sk-wrong-admin", *filter(None, [secret])):
        for place in seen:
            assert text.encode() not in place


def test_a_secret_that_is_kept_is_said_and_another_one_is_refused(
    provider: ScriptedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with administered(tmp_path, provider) as site:
        assert any("LOUPE_KEY_SECRET is not set" in line for line in site.log)
    encoder = FakeEncoder()
    router = FakeRouter(("small",), FORECASTS, encoder_digest=encoder.digest)
    settings = Settings.model_validate(settings_for(tmp_path, provider.url))

    async def start() -> None:
        async with Gateway(settings, encoder=encoder, router=router).running():
            pytest.fail("it has started")

    for secret, reason in (("another-secret-0123456789", "another secret"), ("short", "16 characters")):
        monkeypatch.setenv("LOUPE_KEY_SECRET", secret)
        with pytest.raises(ConfigError, match=reason):
            asyncio.run(start())


def usage_of(site: Site, tenant: str) -> dict[str, Any]:
    [row] = admin(site, "GET", f"usage?tenant={tenant}").json["data"]
    return dict(row)
