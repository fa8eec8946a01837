"""One file and one line: a toy of each kind is registered by one line, and a real gateway or command works with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fastapi import FastAPI

from gateway import providers, stores
from gateway.api import ROUTES
from gateway.api.services import ApiServices
from gateway.billing.image_tokens import IMAGE_TOKENS
from gateway.billing.store import BudgetStore
from gateway.cli import main
from gateway.config.settings import Settings
from gateway.outcomes.graders.base import Grade, Reference
from gateway.outcomes.graders.registry import GRADERS, grader_for
from gateway.providers.base import Endpoint
from gateway.stores.base import StoreAddress, StoreKind, StoreSurroundings
from gateway.stores.memory import MemoryStore
from gateway.stores.sqlite.kind import open_tenants
from routers.algorithms.best_single import BestSingle
from routers.forecasting.head import HeadAlgorithm
from routers.registry import ALGORITHMS
from routers.table.mmr_csv import write_mmr_csv
from tests.e2e.harness.scripted_provider import scripted_provider
from tests.e2e.harness.scripts import answer
from tests.e2e.harness.site import Site, serving_gateway, settings_for
from tests.fakes.synthetic import drawn_table

HELLO = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def registered() -> Iterator[Callable[[Any, str, Any], None]]:
    """A function that puts a toy into a registry by one line; the toy is taken out again after the test."""
    added: list[tuple[dict[str, Any], str]] = []

    def register(registry: dict[str, Any], name: str, toy: Any) -> None:
        registry[name] = toy
        added.append((registry, name))

    yield register
    for registry, name in added:
        del registry[name]


class ToyExchange:
    """A reply that is there at once."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        data, self._data = self._data, b""
        return data

    def offer(self, take: Callable[[bytes], bool]) -> None:
        """Nothing more comes that could be offered."""

    @property
    def ended(self) -> bool:
        return not self._data

    def close(self) -> None:
        """There is no connection."""


class ToyProvider:
    """Says the name of its endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._name = endpoint.name

    async def send(self, body: bytes, request_id: str, *, streamed: bool = True) -> ToyExchange:
        message = {"role": "assistant", "content": f"I am {self._name}"}
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        reply = {"id": request_id, "object": "chat.completion", "choices": choices, "usage": usage}
        return ToyExchange(json.dumps(reply).encode())

    async def close(self) -> None:
        """There is nothing to close."""


def test_a_provider_kind_is_one_line(registered: Callable[..., None], tmp_path: Path) -> None:
    registered(providers.KINDS, "toy", ToyProvider)
    raw = settings_for(tmp_path, "http://127.0.0.1:1")
    raw["providers"]["pool"]["kind"] = "toy"
    with serving_gateway(raw, tmp_path) as site:
        reply = site.chat(HELLO)
        assert reply.json["choices"][0]["message"]["content"] == "I am pool"
        assert site.ledger.charged() > 0


def test_an_unknown_kind_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    raw = settings_for(tmp_path, "http://127.0.0.1:1")
    raw["providers"]["pool"]["kind"] = "tea"
    with pytest.raises(ValueError, match="unknown provider kind 'tea'; known: openai"):
        Settings.model_validate(raw)
    raw = settings_for(tmp_path, "http://127.0.0.1:1")
    raw["store"]["kind"] = "tea"
    with pytest.raises(ValueError, match="unknown store kind 'tea'; known: sqlite, redis"):
        Settings.model_validate(raw)


def test_a_store_kind_is_one_line(registered: Callable[..., None], tmp_path: Path) -> None:
    opened: list[MemoryStore] = []

    async def open_budgets(address: StoreAddress, around: StoreSurroundings) -> BudgetStore:
        assert address.path == tmp_path / "loupe.sqlite"
        opened.append(MemoryStore(around.clock))
        return opened[0]

    registered(stores.KINDS, "toy", StoreKind(open_budgets, open_tenants))
    with scripted_provider(answer()) as provider:
        raw = settings_for(tmp_path, provider.url)
        raw["store"]["kind"] = "toy"
        with serving_gateway(raw, tmp_path) as site:
            assert site.chat(HELLO).status == 200
            usage = site.usage()
            assert usage["spent"] > 0 and usage["held"] == 0
    assert len(opened) == 1


def test_an_endpoint_is_one_line(tmp_path: Path) -> None:
    async def toy() -> dict[str, str]:
        return {"toy": "works"}

    def mount(app: FastAPI, services: ApiServices) -> None:
        app.add_api_route("/v1/toy", toy, methods=["GET"])

    ROUTES.append(mount)
    try:
        with serving_gateway(settings_for(tmp_path, "http://127.0.0.1:1"), tmp_path) as site:
            assert _toy_of(site) == (200, {"toy": "works"})
    finally:
        ROUTES.remove(mount)


def _toy_of(site: Site) -> tuple[int, Any]:
    found = site.call("GET", "/v1/toy")
    return found.status, found.json


class ToyRouter(BestSingle):
    """The best single candidate under another name."""

    algorithm: ClassVar[str] = "toy"


@pytest.mark.slow
def test_a_router_is_one_line(
    registered: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registered(ALGORITHMS, "toy", HeadAlgorithm(ToyRouter))
    table, _ = drawn_table(groups=12)
    write_mmr_csv(table, tmp_path / "drawn.csv")
    words = ["--table", str(tmp_path / "drawn.csv"), "--routers", "toy", "--seeds", "1", "--replicates", "2"]
    assert main(["bench", *words, "--train", "0.5", "--jobs", "1"]) == 0
    assert "toy" in capsys.readouterr().out


@dataclass(frozen=True, slots=True)
class Shout:
    """Right where the reply is in capitals."""

    version: str = "shout/1"

    def check(self, reference: Reference) -> None:
        """Any reference will do."""

    def grade(self, reply: str, reference: Reference) -> Grade:
        return Grade(float(reply.isupper()), reply)


def test_a_grader_is_one_line(registered: Callable[..., None]) -> None:
    registered(GRADERS, "shout", ((), lambda _: Shout()))
    grader = grader_for("shout", Reference("YES"))
    assert [grader.grade(reply, Reference("YES")).score for reply in ("YES", "yes")] == [1.0, 0.0]


def test_an_image_formula_is_one_line(registered: Callable[..., None], tmp_path: Path) -> None:
    registered(IMAGE_TOKENS, "toy", lambda width, height, detail: width + height)
    pixel = (
        "data:image/png;base64,"
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    parts = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": pixel}}]
    counted = []
    with scripted_provider(answer()) as provider:
        for formula in ("flat:0", "toy"):
            folder = tmp_path / formula.partition(":")[0]
            folder.mkdir()
            raw = settings_for(folder, provider.url)
            raw["candidates"] = [{**each, "image_tokens": formula} for each in raw["candidates"]]
            with serving_gateway(raw, folder) as site:
                body = {"model": "small", "messages": [{"role": "user", "content": parts}]}
                counted.append(site.input_tokens(body))
    assert counted[1] == counted[0] + 2, "a picture of one pixel by one"


def test_what_is_not_registered_is_not_known() -> None:
    assert "toy" not in {*providers.KINDS, *stores.KINDS, *ALGORITHMS, *GRADERS, *IMAGE_TOKENS}
