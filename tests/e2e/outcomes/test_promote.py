"""Routers put into service under a running gateway: between two requests, in every process, no request the worse."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli import main
from routers.artifact import NUMBERS
from routers.artifact_store import CURRENT, ArtifactStore
from tests.e2e.harness.scripted_provider import ScriptedProvider, wait_until
from tests.e2e.harness.scripts import answer, wait_then
from tests.e2e.harness.site import Answer, Site, serving_gateway, settings_for
from tests.e2e.operations.test_workers import pids, raw_settings, until_started, workers
from tests.fakes.artifacts import written_artifact
from tests.models.loaded import fused_lite

ASK: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "How many?"}]}
GOOD, BETTER = {"large": 0.9, "middle": 0.6, "small": 0.3}, {"large": 0.5, "middle": 0.6, "small": 0.7}
FALLBACK = "fake-router"


@dataclass
class Promoting:
    """A gateway that watches a shelf."""

    site: Site
    store: ArtifactStore
    folder: Path

    def kept(self, name: str, means: dict[str, float]) -> str:
        written_artifact(self.folder / name, means)
        return self.store.add(self.folder / name)

    def serving(self) -> str:
        text = self.site.call("GET", "/metrics", key=None).body.decode()
        found = re.search(r'^loupe_router_info\{digest="([^"]+)"\} 1', text, re.MULTILINE)
        assert found is not None, text
        return found[1]

    def promote(self, digest: str) -> None:
        self.store.promote(digest, "now")
        wait_until(lambda: self.serving() == digest, "the router's swap")


@contextmanager
def promoting(folder: Path, provider: ScriptedProvider) -> Iterator[Promoting]:
    store = ArtifactStore(folder / "artifacts")
    raw = settings_for(folder, provider.url, router={"timeout_ms": 10_000, "artifacts": str(store.folder)})
    with serving_gateway(raw, folder) as site:
        yield Promoting(site, store, folder)


@pytest.fixture
def here(provider: ScriptedProvider, tmp_path: Path) -> Iterator[Promoting]:
    with promoting(tmp_path, provider) as found:
        yield found


def digest_of(here: Promoting, reply: Answer) -> str:
    return str(here.site.ledger.outcome(reply.headers["x-request-id"])["router_digest"])


def test_another_router_takes_over_and_what_the_old_one_forecast_is_forgotten(here: Promoting) -> None:
    before = here.site.chat(ASK)
    assert (before.headers["x-route-candidate"], digest_of(here, before)) == ("large", FALLBACK)
    better = here.kept("better", BETTER)
    here.promote(better)
    after = here.site.chat(ASK)
    assert (after.headers["x-route-candidate"], digest_of(here, after)) == ("small", better)
    assert here.site.metric("loupe_router_swaps_total") == 1
    here.store.roll_back("later")
    wait_until(lambda: here.serving() == FALLBACK, "the way back")
    assert here.site.chat(ASK).headers["x-route-candidate"] == "large"
    here.site.assert_no_trace()


def test_a_request_under_way_ends_with_the_router_that_it_began_with(
    here: Promoting, provider: ScriptedProvider
) -> None:
    go_on = threading.Event()
    provider.on("large", wait_then(go_on, answer()))
    replies: list[Answer] = []
    asking = threading.Thread(target=lambda: replies.append(here.site.chat(ASK)))
    asking.start()
    provider.wait_for_calls(1)
    here.promote(here.kept("better", BETTER))
    go_on.set()
    asking.join()
    assert (replies[0].status, digest_of(here, replies[0])) == (200, FALLBACK)


def cut_short(here: Promoting, digest: str) -> None:
    numbers = here.store.path(digest) / NUMBERS
    numbers.write_bytes(numbers.read_bytes()[:-1])


def take_away(here: Promoting, digest: str) -> None:
    (here.store.path(digest) / NUMBERS).unlink()


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "why"), [(cut_short, "altered or cut short"), (take_away, "cannot be read")])
def test_what_was_altered_after_it_was_promoted_leaves_the_old_one_in_service(
    here: Promoting, spoil: Callable[[Promoting, str], None], why: str
) -> None:
    good, better = here.kept("good", GOOD), here.kept("better", BETTER)
    here.promote(good)
    spoil(here, better)
    current = here.store.folder / CURRENT
    current.write_text(json.dumps({"format": 1, "stack": [good, better], "history": []}))
    wait_until(lambda: here.site.metric("loupe_router_load_failures_total") == 1, "the refusal")
    assert here.serving() == good
    assert digest_of(here, here.site.chat(ASK)) == good
    said = [line for line in here.site.log if "stays in service" in line]
    assert len(said) == 1
    assert why in said[0]


@pytest.mark.slow
def test_a_router_of_another_encoder_is_not_taken(here: Promoting, tmp_path: Path) -> None:
    digest = written_artifact(tmp_path / "real", GOOD, fused_lite())
    assert here.store.add(tmp_path / "real") == digest
    here.store.promote(digest, "now")
    wait_until(lambda: here.site.metric("loupe_router_load_failures_total") == 1, "the refusal")
    assert here.serving() == FALLBACK
    assert any("was trained on the encoder" in line for line in here.site.log)


@pytest.mark.slow
def test_a_gateway_that_starts_takes_what_was_promoted_or_what_was_before_it(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    with promoting(tmp_path / "one", provider) as here:
        good, better = here.kept("good", GOOD), here.kept("better", BETTER)
        here.promote(good)
        here.promote(better)
    with promoting(tmp_path / "one", provider) as here:
        assert here.serving() == better
        cut_short(here, better)
    with promoting(tmp_path / "one", provider) as here:
        assert here.serving() == good
        assert here.site.metric("loupe_router_load_failures_total") == 1


def test_a_candidate_that_is_added_is_forecast_by_its_neighbours_in_price_at_once(
    provider: ScriptedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOUPE_ADMIN_KEY", "the-admin-key")
    raw = settings_for(tmp_path, provider.url)
    config = tmp_path / "gateway.yaml"
    config.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with serving_gateway(raw, tmp_path, config=config) as site:
        raw["candidates"].append(
            {**raw["candidates"][0], "name": "new", "input_usd_per_mtok": 2.0, "output_usd_per_mtok": 9.0}
        )
        config.write_text(yaml.safe_dump(raw), encoding="utf-8")
        assert site.call("POST", "/admin/reload", key="the-admin-key").status == 200
        rows = {row["candidate"]: row for row in site.route(ASK)["candidates"]}
        assert rows["middle"]["quality"] < rows["new"]["quality"] < rows["large"]["quality"]
        assert rows["new"]["quality_std"] > rows["large"]["quality_std"] + 0.05
        assert site.chat({**ASK, "model": "new"}).status == 200


@pytest.mark.slow
def test_swaps_under_load_drop_no_request_and_every_record_names_its_router(here: Promoting) -> None:
    digests = [here.kept("good", GOOD), here.kept("better", BETTER)]
    stop, replies = threading.Event(), []

    def ask(client: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            question = f"How many, {client}.{number % 7}?"
            replies.append(here.site.chat({**ASK, "messages": [{"role": "user", "content": question}]}))

    clients = [threading.Thread(target=ask, args=(client,)) for client in range(4)]
    for client in clients:
        client.start()
    for turn in range(6):
        here.promote(digests[turn % 2])
    stop.set()
    for client in clients:
        client.join()
    assert len(replies) > 50
    assert {reply.status for reply in replies} == {200}
    chosen = {FALLBACK: "large", digests[0]: "large", digests[1]: "small"}
    found = dict.fromkeys(chosen, 0)
    for reply in replies:
        digest = digest_of(here, reply)
        found[digest] += 1
        assert reply.headers["x-route-candidate"] == chosen[digest], "decided by the router that the record names"
    assert all(found[digest] for digest in digests)
    here.site.assert_no_trace()


@pytest.mark.slow
def test_every_worker_takes_what_the_command_promotes(
    tmp_path: Path, shared_provider: ScriptedProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    shared_provider.forget()
    raw = raw_settings(tmp_path, shared_provider.url)
    raw["router"] = {"timeout_ms": 10_000, "artifacts": str(tmp_path / "artifacts")}
    digest = written_artifact(tmp_path / "better", BETTER, fused_lite())
    with workers(tmp_path, raw, 2) as command:
        until_started(command, 2)
        assert main(["promote", str(tmp_path / "better"), "--config", str(tmp_path / "gateway.yaml")]) == 0
        assert f"{digest[:12]} is in service, after the router of the configuration" in capsys.readouterr().out
        said = f"router {digest[:12]} is in service"
        command.until(lambda: command.text.count(said) == 2, "every worker's promotion")
        assert main(["rollback", "--config", str(tmp_path / "gateway.yaml")]) == 0
        command.until(lambda: len(re.findall(r"router \w+ is in service", command.text)) == 4, "every worker's return")
        assert len(pids(command)) == 2
