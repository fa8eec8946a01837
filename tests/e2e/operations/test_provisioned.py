"""What the configuration file provisions is the file's: nobody else changes it, and a store of an older version, in
which commands could, goes over to that without losing anything.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.app.asgi import Gateway
from gateway.config.secrets import hash_key
from gateway.config.settings import Settings
from gateway.errors import ConfigError
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.site import FORECASTS, Answer, Site, charge, serving_gateway, settings_for
from tests.fakes.encoder import FakeEncoder
from tests.fakes.router import FakeRouter

ADMIN = "admin-key-of-the-e2e-tests"
ASK: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "How many?"}]}
OLDER = Path(__file__).with_name("tenants_of_older_version.sql")
OLDER_SECRET = "a-secret-of-the-server-0123456789"
MADE = {
    "till": "sk-loupe-rrAw7iZgdVXtzEKmUZSsxuHZyD8oR-BEwwAbU90HYkg",
    "rotated": "sk-loupe-LI1kqlejQJUT-DCfRrQ-oI6-6a9UIa2sNSqOjK-QDkE",
    "made": "sk-loupe-d1hUhxT8a7IbR_DfxRn8QrqnFP0GWqEcUu9qy_SW0mE",
}
"""Keys that commands of the older version made, by name."""


@pytest.fixture(autouse=True)
def admin_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOUPE_ADMIN_KEY", ADMIN)


@contextmanager
def serving(folder: Path, provider: ScriptedProvider, **changes: Any) -> Iterator[Site]:
    raw = settings_for(folder, provider.url, **changes)
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with serving_gateway(raw, folder, config=path) as site:
        yield site
        site.assert_no_trace()


def admin(site: Site, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
    return site.call(method, f"/admin/{path}", body, key=ADMIN)


def keys_of_file(*names: str) -> list[dict[str, Any]]:
    return [{"sha256": hash_key(f"sk-file-{name}"), "name": name} for name in names]


def older_file(*left_out: str) -> list[dict[str, Any]]:
    """The tenants of the file that the older version had read in last, less some of its tenants and keys."""
    tenants: list[dict[str, Any]] = [
        {"name": "first", "keys": keys_of_file("kept", "revoked", "rotated", "struck"), "budget": {"usd": 100.0}},
        {"name": "edited", "keys": keys_of_file("edited"), "budget": {"usd": 5.0}},
        {"name": "deleted", "keys": keys_of_file("deleted")},
        {"name": "gone", "keys": keys_of_file("gone")},
        {"name": "shop2"},
    ]
    for tenant in tenants:
        tenant["keys"] = [key for key in tenant.get("keys", ()) if key["name"] not in left_out]
    return [tenant for tenant in tenants if tenant["name"] not in left_out]


@pytest.fixture
def older_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the older version. Since the file was read in, commands changed `edited`, revoked `revoked`, rotated
    `rotated` and took off `deleted`; they made `shop` with `till`, `made`, and, before the file named it, `shop2`.
    """
    monkeypatch.setenv("LOUPE_KEY_SECRET", OLDER_SECRET)
    path = tmp_path / "loupe.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(OLDER.read_text(encoding="utf-8"))
    return path


def test_lists_tell_what_the_file_provisions(provider: ScriptedProvider, tmp_path: Path) -> None:
    with serving(tmp_path, provider) as site:
        assert admin(site, "POST", "tenants", {"name": "acme"}).json["provisioned"] is False
        made = admin(site, "POST", "keys", {"tenant": "first"}).json
        tenants = admin(site, "GET", "tenants").json["data"]
        assert {row["name"]: row["provisioned"] for row in tenants} == {"first": True, "other": True, "acme": False}
        assert admin(site, "GET", "tenants/first").json["provisioned"] is True
        rows = {row["id"]: (row["provisioned"], row["from"]) for row in admin(site, "GET", "keys").json["data"]}
        assert rows.pop(made["id"]) == (False, "command")
        assert set(rows.values()) == {(True, "configuration")}
        assert len(rows) == 2


def test_what_the_file_provisions_is_refused_to_admin_with_the_file_named(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    with serving(tmp_path, provider) as site:
        [key] = admin(site, "GET", "keys?tenant=first").json["data"]
        before = [admin(site, "GET", path).body for path in ("tenants", "keys")]
        for method, path, body, what in (
            ("PATCH", "tenants/first", {"budget": {"usd": 1.0}}, "tenant 'first'"),
            ("DELETE", "tenants/first", None, "tenant 'first'"),
            ("PATCH", f"keys/{key['id']}", {"budgets": []}, f"key first/{key['name']}"),
            ("DELETE", f"keys/{key['id']}", None, f"key first/{key['name']}"),
            ("POST", f"keys/{key['id']}/rotate", {"grace_s": 60}, f"key first/{key['name']}"),
        ):
            refused = admin(site, method, path, body)
            assert (refused.status, refused.error["code"]) == (409, "provisioned")
            assert refused.error["type"] == "invalid_request_error"
            assert refused.error["param"] == ("tenant" if path.startswith("tenants") else "id")
            assert what in refused.error["message"]
            assert str(tmp_path / "gateway.yaml") in refused.error["message"]
            assert "\n" not in refused.error["message"]
        assert [admin(site, "GET", path).body for path in ("tenants", "keys")] == before
        assert site.chat(ASK).status == 200


def test_a_gateway_does_not_start_on_a_name_that_a_command_has_taken(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    with serving(tmp_path, provider) as site:
        admin(site, "POST", "tenants", {"name": "acme"})
        key = admin(site, "POST", "keys", {"tenant": "acme"}).json["key"]
        tenants = site.call("GET", "/admin/tenants", key=ADMIN).json["data"]
    raw = settings_for(tmp_path, provider.url)
    raw["tenants"] = [*raw["tenants"], {"name": "acme"}]
    raw["tenants"][0]["quality_weight"] = 0.1
    encoder = FakeEncoder()
    router = FakeRouter(tuple(FORECASTS), FORECASTS, encoder_digest=encoder.digest)

    async def start() -> None:
        app = Gateway(Settings.model_validate(raw), encoder=encoder, router=router, config=tmp_path / "gateway.yaml")
        async with app.running():
            pytest.fail("it has started")

    with pytest.raises(ConfigError) as refused:
        asyncio.run(start())
    assert f"{tmp_path / 'gateway.yaml'} names the tenant 'acme', and a command made one" in str(refused.value)
    assert "\n" not in str(refused.value)
    with serving(tmp_path, provider) as site:
        assert admin(site, "GET", "tenants").json["data"] == tenants, "nothing was changed"
        assert site.chat(ASK, key=key).status == 200


def test_tenants_from_is_accepted_and_said_to_have_no_effect(provider: ScriptedProvider, tmp_path: Path) -> None:
    with serving(tmp_path, provider, tenants_from="store") as site:
        assert any("tenants_from has no effect" in line for line in site.log)
    with serving(tmp_path, provider) as site:
        assert not any("tenants_from" in line for line in site.log)


def test_a_store_of_an_older_version_opens_and_loses_nothing(
    older_store: Path, provider: ScriptedProvider, tmp_path: Path
) -> None:
    for start in (1, 2):  # the second one finds what the first has left
        with serving(tmp_path, provider, tenants=older_file()) as site:
            for name in ("kept", "edited", "struck", "gone"):
                assert site.chat(ASK, key=f"sk-file-{name}").status == 200
            assert {name: site.chat(ASK, key=key).status for name, key in MADE.items()} == dict.fromkeys(MADE, 200)
            tenants = {row["name"]: row for row in admin(site, "GET", "tenants").json["data"]}
            assert tenants["edited"]["quality_weight"] == 0.8, "as the file says"
            assert tenants["first"]["created_at"] == "2023-11-14T22:13:23+00:00"
            assert {name for name, row in tenants.items() if not row["provisioned"]} == {"shop"}
            for name in ("revoked", "rotated", "deleted"):
                assert site.chat(ASK, key=f"sk-file-{name}").status == 401, "a command ended it"
                assert any(f"/key/{name} stays ended" in line for line in site.log)
            of_first = 4  # by `kept`, `struck`, and two keys that commands made
            assert site.usage("sk-file-kept")["spent"] == start * of_first * charge("small", 21, 8)


def test_what_the_file_no_longer_names_is_taken_off_a_store_of_an_older_version(
    older_store: Path, provider: ScriptedProvider, tmp_path: Path
) -> None:
    with serving(tmp_path, provider, tenants=older_file("gone", "struck")) as site:
        assert admin(site, "GET", "tenants/gone").status == 404
        assert [site.chat(ASK, key=f"sk-file-{name}").status for name in ("gone", "struck", "kept")] == [401, 401, 200]
        assert {name: site.chat(ASK, key=key).status for name, key in MADE.items()} == dict.fromkeys(MADE, 200)
        removed = [line for line in site.log if line.endswith("deleted")]
        assert len(removed) == 3
        assert all(str(tmp_path / "gateway.yaml") in line for line in removed)
