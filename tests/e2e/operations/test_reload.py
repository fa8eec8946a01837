"""The configuration read again under a running gateway: taken over whole or refused whole, no request the worse."""

from __future__ import annotations

import copy
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.secrets import hash_key
from tests.e2e.harness.processes import running
from tests.e2e.harness.scripted_provider import ScriptedProvider, scripted_provider, wait_until
from tests.e2e.harness.scripts import answer, wait_then
from tests.e2e.harness.site import KEY, OTHER_KEY, Answer, Site, charge, serving_gateway, settings_for

ADMIN = "admin-key-of-the-e2e-tests"
ASK: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "How many?"}]}
NEW_KEY = "sk-loupe-e2e-new-0123456789"


@pytest.fixture(autouse=True)
def admin_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOUPE_ADMIN_KEY", ADMIN)


@dataclass
class Reloading:
    """A gateway and its file."""

    site: Site
    raw: dict[str, Any]
    path: Path

    def write(self, raw: dict[str, Any] | str) -> None:
        self.path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw), encoding="utf-8")

    def reload(self, raw: dict[str, Any] | str | None = None) -> Answer:
        if raw is not None:
            self.write(raw)
        return self.site.call("POST", "/admin/reload", key=ADMIN)

    def changed(self, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The file with a change in it."""
        raw = copy.deepcopy(self.raw)
        change(raw)
        return raw

    def models(self, key: str = KEY) -> list[str]:
        return [model["id"] for model in self.site.call("GET", "/v1/models", key=key).json["data"]]


@contextmanager
def reloading(folder: Path, provider: ScriptedProvider, **changes: Any) -> Iterator[Reloading]:
    raw = settings_for(folder, provider.url, **changes)
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with serving_gateway(raw, folder, config=path) as site:
        yield Reloading(site, raw, path)


@pytest.fixture
def running_site(provider: ScriptedProvider, tmp_path: Path) -> Iterator[Reloading]:
    with reloading(tmp_path, provider) as found:
        yield found
        faults = [line for line in found.site.log if "Traceback" in line]
        assert not faults, "\n".join(faults)


def test_candidates_prices_policies_and_tenants_are_taken_over(running_site: Reloading) -> None:
    site = running_site.site

    def change(raw: dict[str, Any]) -> None:
        raw["candidates"] = [each for each in raw["candidates"] if each["name"] != "middle"]
        raw["candidates"].append({**raw["candidates"][0], "name": "extra", "input_usd_per_mtok": 7.0})
        raw["candidates"][1]["output_usd_per_mtok"] = 40.0  # `small` costs a hundred times as much
        raw["policies"] = {"frugal": 0.2}
        raw["tenants"][0]["budget"] = {"usd": 55.0}
        raw["tenants"].append({"name": "new", "keys": [{"sha256": hash_key(NEW_KEY)}]})

    before = site.chat(ASK)
    assert running_site.models() == ["auto", "large", "middle", "small"]
    done = running_site.reload(running_site.changed(change))
    assert done.status == 200, done
    assert done.json["changed"] == ["policies", "candidates", "tenants"]
    assert done.json["tenants"]["added"] == ["new", f"new/key/{hash_key(NEW_KEY)[:12]}"]
    assert done.json["tenants"]["changed"] == ["first"]
    assert running_site.models() == ["auto", "frugal", "large", "small", "extra"]
    assert running_site.models(NEW_KEY) == ["auto", "frugal", "large", "small", "extra"]
    after = site.chat(ASK)
    assert float(after.headers["x-route-cost"]) > 50 * float(before.headers["x-route-cost"])
    assert site.usage()["limit"] == 55 * 10**9
    assert site.usage()["spent"] == site.ledger.charged(), "what was spent before counts"
    assert site.chat({**ASK, "model": "middle"}).status == 404
    assert site.chat({**ASK, "model": "extra"}, key=NEW_KEY).status == 200


def test_a_file_that_is_the_same_changes_nothing(running_site: Reloading) -> None:
    done = running_site.reload().json
    assert done == {
        "object": "reload",
        "changed": [],
        "tenants": {"added": [], "changed": [], "removed": [], "left": []},
    }


def test_a_key_that_is_struck_from_the_file_stops(running_site: Reloading) -> None:
    made = running_site.site.call("POST", "/admin/keys", {"tenant": "other"}, key=ADMIN).json
    done = running_site.reload(running_site.changed(lambda raw: raw["tenants"][1].pop("keys")))
    assert done.json["tenants"]["removed"] == [f"other/key/{hash_key(OTHER_KEY)[:12]}"]
    assert running_site.site.chat(ASK, key=OTHER_KEY).status == 401
    assert running_site.site.chat(ASK, key=made["key"]).status == 200, "what was made by hand goes on"


def test_a_tenant_of_the_file_follows_the_file_and_keeps_what_was_spent(running_site: Reloading) -> None:
    site = running_site.site
    site.chat(ASK)
    spent = site.usage()["spent"]
    assert spent > 0
    refused = site.call("PATCH", "/admin/tenants/first", {"budget": {"usd": 3.0}}, key=ADMIN)
    assert (refused.status, refused.error["code"]) == (409, "provisioned")
    assert str(running_site.path) in refused.error["message"]
    for usd in (9.0, 100.0):
        changed = running_site.changed(lambda raw, usd=usd: raw["tenants"][0].update(budget={"usd": usd}))
        assert running_site.reload(changed).status == 200
        assert site.usage() == {"limit": usd * 10**9, "spent": spent, "held": 0, "remaining": usd * 10**9 - spent}


@pytest.mark.parametrize("kind", ["tenant", "key"])
def test_a_name_that_a_command_has_taken_is_not_taken_by_the_file(running_site: Reloading, kind: str) -> None:
    site = running_site.site
    site.call("POST", "/admin/tenants", {"name": "acme"}, key=ADMIN)
    key = site.call("POST", "/admin/keys", {"tenant": "first", "name": "laptop"}, key=ADMIN).json

    def name_it_too(raw: dict[str, Any]) -> None:
        if kind == "tenant":
            raw["tenants"].append({"name": "acme"})
        else:
            raw["tenants"][0]["keys"].append({"sha256": hash_key(NEW_KEY), "name": "laptop"})

    refused = running_site.reload(running_site.changed(name_it_too))
    assert (refused.status, refused.error["code"]) == (400, "reload_refused")
    of_tenant = ("the tenant 'acme'", "take it out of the file, or run `loupe tenants delete acme`")
    of_key = ("the key first/laptop", f"first/laptop ({key['id']}): give the file's another name")
    for part in (str(running_site.path), "a command made one", *(of_tenant if kind == "tenant" else of_key)):
        assert part in refused.error["message"]
    assert site.chat(ASK, key=key["key"]).status == 200
    assert site.chat(ASK, key=NEW_KEY).status == 401
    path = "tenants/acme" if kind == "tenant" else f"keys/{key['id']}"
    assert site.call("DELETE", f"/admin/{path}", key=ADMIN).status == 200
    assert running_site.reload().status == 200


def _candidate(raw: dict[str, Any]) -> dict[str, Any]:
    found = raw["candidates"][0]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda raw: raw.update(max_attempts=0), "max_attempts"),
        (lambda raw: raw.update(sever={}), "sever"),
        (lambda raw: raw.pop("providers"), "providers: Field required"),
        (lambda raw: _candidate(raw).update(provider="none"), "'none'"),
        (lambda raw: _candidate(raw).update(image_tokens="no-such"), "no-such"),
        (lambda raw: (_candidate(raw).pop("input_usd_per_mtok"), _candidate(raw).pop("output_usd_per_mtok")), "price"),
        (lambda raw: raw["providers"]["pool"].update(api_key_env="LOUPE_TEST_UNSET"), "LOUPE_TEST_UNSET is not set"),
        (lambda raw: raw["providers"]["pool"].update(base_url="http://[::1"), "base_url"),
        (lambda raw: raw["providers"]["pool"].update(headers={"X-Broken": "a\r\nb"}), "X-Broken"),
        (lambda raw: raw["tenants"][0]["keys"].append({"env": "LOUPE_TEST_UNSET"}), "LOUPE_TEST_UNSET is not set"),
        (lambda raw: raw["tenants"][0]["keys"].append({"sha256": hash_key(OTHER_KEY)}), "appears twice"),
        (lambda raw: raw["tenants"][0].update(candidates=["gpt-none"]), "gpt-none"),
        (lambda raw: raw.update(server={"port": 9}), "server.port: cannot change without a restart"),
        (
            lambda raw: raw["store"].update(reservation_ttl_s=5),
            "store.reservation_ttl_s: cannot change without a restart",
        ),
        (lambda raw: raw.update(content={"keep": True}), "content.keep: cannot change without a restart"),
        (lambda raw: raw["encoder"].update(bundle="clip"), "encoder.bundle: cannot change without a restart"),
    ],
)
def test_a_reload_with_a_fault_in_it_changes_nothing(
    running_site: Reloading, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    raw = running_site.changed(change)
    raw["policies"] = {"frugal": 0.2}
    raw["tenants"].append({"name": "new", "keys": [{"sha256": hash_key(NEW_KEY)}]})
    raw["tenants"][1]["quality_weight"] = 0.123
    refused = running_site.reload(raw)
    assert (refused.status, refused.error["code"]) == (400, "reload_refused")
    assert reason in refused.error["message"]
    assert any("reload refused" in line and reason in line for line in running_site.site.log)
    assert running_site.models() == ["auto", "large", "middle", "small"]
    site = running_site.site
    assert site.chat(ASK, key=NEW_KEY).status == 401
    tenants = site.call("GET", "/admin/tenants", key=ADMIN).json["data"]
    assert [tenant["name"] for tenant in tenants] == ["first", "other"]
    assert tenants[1]["quality_weight"] == 0.8
    assert site.chat(ASK).status == 200
    assert running_site.reload(running_site.raw).status == 200


@pytest.mark.parametrize("text", ["", "a: [1", "[]", "\x00"])
def test_a_file_that_is_no_configuration_changes_nothing(running_site: Reloading, text: str) -> None:
    assert running_site.reload(text).error["code"] == "reload_refused"
    running_site.path.unlink()
    assert str(running_site.path) in running_site.reload().error["message"]
    assert running_site.site.chat(ASK).status == 200


def test_a_tenant_whose_candidates_are_all_gone_is_named(running_site: Reloading) -> None:
    site = running_site.site
    site.call("POST", "/admin/tenants", {"name": "acme", "candidates": ["middle"]}, key=ADMIN)
    key = site.call("POST", "/admin/keys", {"tenant": "acme"}, key=ADMIN).json["key"]
    assert running_site.reload(running_site.changed(lambda raw: raw["candidates"].pop(1))).status == 200
    assert any("tenants: acme may use none" in line for line in site.log)
    assert running_site.models(key) == ["auto"]
    assert site.chat(ASK, key=key).status == 404


def test_a_key_that_a_command_made_elsewhere_is_not_taken_twice(running_site: Reloading) -> None:
    key = running_site.site.call("POST", "/admin/keys", {"tenant": "other"}, key=ADMIN).json["key"]
    raw = running_site.changed(lambda raw: raw["tenants"][0]["keys"].append({"sha256": hash_key(key), "name": "mine"}))
    refused = running_site.reload(raw)
    assert refused.error["code"] == "reload_refused"
    assert "first/mine" in refused.error["message"]
    assert running_site.site.chat(ASK, key=key).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_under_way_ends_as_it_began(
    running_site: Reloading, provider: ScriptedProvider, stream: bool
) -> None:
    site, go_on, replies = running_site.site, threading.Event(), []
    provider.on("small", wait_then(go_on, answer()))
    asking = threading.Thread(target=lambda: replies.append(site.chat({**ASK, "stream": stream})))
    asking.start()
    provider.wait_for_calls(1)

    def change(raw: dict[str, Any]) -> None:
        raw["candidates"] = raw["candidates"][:1]
        raw["candidates"][0]["provider"] = "elsewhere"
        raw["providers"] = {"elsewhere": {"base_url": "http://127.0.0.1:9/v1"}}

    assert running_site.reload(running_site.changed(change)).status == 200
    assert site.chat(ASK).status == 404, "it is not served any more"
    assert site.metric("loupe_editions") == 2
    go_on.set()
    asking.join()
    wait_until(lambda: site.metric("loupe_editions") == 1, "the end of the first edition")
    assert replies[0].status == 200
    site.ledger.assert_settled()
    assert site.ledger.charged() == charge("small", 21, 8)


def test_a_provider_may_go_and_come_back(running_site: Reloading) -> None:
    with scripted_provider(answer()) as other:
        raw = running_site.changed(lambda raw: raw["providers"]["pool"].update(base_url=other.url))
        assert running_site.reload(raw).status == 200
        assert running_site.site.chat(ASK).status == 200
        assert len(other.calls) == 1
    assert running_site.reload(running_site.raw).status == 200
    assert running_site.site.chat(ASK).status == 200


@pytest.mark.slow
def test_a_hundred_reloads_under_load_drop_no_request(running_site: Reloading, provider: ScriptedProvider) -> None:
    site, done, statuses = running_site.site, threading.Event(), []
    other = running_site.changed(lambda raw: raw["providers"]["pool"].update(idle_s=7))
    other["candidates"] = [*other["candidates"], {**other["candidates"][0], "name": "extra"}]

    def ask(stream: bool) -> None:
        while not done.is_set():
            statuses.append(site.chat({**ASK, "stream": stream}).status)

    clients = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(4)]
    for client in clients:
        client.start()
    reloads = [running_site.reload(other if number % 2 else running_site.raw).status for number in range(100)]
    done.set()
    for client in clients:
        client.join()
    assert reloads == [200] * 100
    assert set(statuses) == {200}
    assert len(statuses) > 100
    assert len(provider.calls) == len(statuses)
    site.ledger.assert_settled()
    assert site.ledger.charged() == len(statuses) * charge("small", 21, 8)


def test_every_process_of_a_store_follows(provider: ScriptedProvider, tmp_path: Path) -> None:
    with reloading(tmp_path, provider) as one, serving_gateway(one.raw, tmp_path, config=one.path) as second:
        two = Reloading(second, one.raw, one.path)
        one.reload(one.changed(lambda raw: raw.update(policies={"frugal": 0.2})))
        wait_until(lambda: "frugal" in two.models(), "the other process's reload", 1.0)
        two.reload(one.raw)
        wait_until(lambda: "frugal" not in one.models(), "the first process's reload", 1.0)
        key = one.site.call("POST", "/admin/keys", {"tenant": "first"}, key=ADMIN).json
        wait_until(lambda: second.chat(ASK, key=key["key"]).status == 200, "the key elsewhere", 1.0)
        second.call("DELETE", f"/admin/keys/{key['id']}", key=ADMIN)
        assert second.chat(ASK, key=key["key"]).status == 401
        wait_until(lambda: one.site.chat(ASK, key=key["key"]).status == 401, "the end of the key elsewhere", 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_reloads_every_worker(provider: ScriptedProvider, tmp_path: Path, workers: int) -> None:
    raw = settings_for(tmp_path, provider.url, server={"port": 0})
    for candidate, column in zip(raw["candidates"], ("GPT-4o", "Gemini-1.5-Pro", "Qwen2-VL-7B"), strict=True):
        candidate["forecast_as"] = column
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    words: list[str | Path] = ["serve", "--config", path, "--workers", str(workers)]
    with running(words, tmp_path / "gateway.log") as command:
        both = Reloading(Site("127.0.0.1", command.port, tmp_path), raw, path)
        command.until(lambda: command.text.count("Application startup complete") == workers, "the start of all workers")
        both.write(both.changed(lambda raw: raw.update(policies={"frugal": 0.2})))
        command.process.send_signal(signal.SIGHUP)
        command.until(
            lambda: command.text.count("reloaded; changed: policies") == workers, "every worker's reload", 5.0
        )
        assert all("frugal" in both.models() for _ in range(12))
        both.write("a: [1")
        command.process.send_signal(signal.SIGHUP)
        command.until(lambda: command.text.count("reload refused") == workers, "every worker's refusal", 5.0)
        assert both.site.chat(ASK).status == 200
