"""A gateway in this process, on a real socket, with a fake encoder and router: for what a test must steer exactly."""

from __future__ import annotations

import http.client
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import openai
from prometheus_client.parser import text_string_to_metric_families

from gateway.api.server import OnePieceProtocol
from gateway.app.asgi import Gateway
from gateway.config.secrets import hash_key
from gateway.config.settings import Settings
from gateway.images.fetch import LookUp, look_up
from gateway.telemetry.metrics import Metrics
from models.base import Encoder
from routers.base import Router
from tests.e2e.harness.ledger import Ledger
from tests.fakes.encoder import FakeEncoder
from tests.fakes.router import FakeRouter, Fixed
from tests.served import served

KEY = "sk-loupe-e2e-first-tenant-0123456789"
OTHER_KEY = "sk-loupe-e2e-other-tenant-0123456789"
PRICES = {"large": (3.0, 15.0), "middle": (1.0, 5.0), "small": (0.1, 0.4)}
"""USD per million tokens: input, output."""


def charge(candidate: str, input_tokens: int, output_tokens: int) -> int:
    """Nanodollars for these tokens, reckoned here on its own: rounded once, up."""
    exact = sum(
        Fraction(str(usd)) * tokens * 1000
        for usd, tokens in zip(PRICES[candidate], (input_tokens, output_tokens), strict=True)
    )
    return math.ceil(exact)


def usd(nanodollars: int) -> str:
    """As the gateway's headers write it: no exponent, no trailing zeros."""
    return f"{Decimal(nanodollars).scaleb(-9).normalize():f}"


FORECASTS = {
    "large": Fixed(quality=0.9, output_tokens=40, output_tokens_high=60),
    "middle": Fixed(quality=0.6, output_tokens=40, output_tokens_high=60),
    "small": Fixed(quality=0.3, output_tokens=40, output_tokens_high=60),
}


@dataclass(frozen=True)
class Answer:
    """An HTTP reply: header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in OpenAI's shape; fails when it has another."""
        found = self.json
        assert set(found) == {"error"}
        assert set(found["error"]) - {"retry_after_s"} == {"message", "type", "code", "param"}
        assert found["error"]["message"]
        return dict(found["error"])


@dataclass
class Site:
    """A running gateway and what it leaves behind. `log` gathers the server's own lines, traces included."""

    host: str
    port: int
    folder: Path
    log: list[str] = field(default_factory=list)
    metrics: Metrics | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / "loupe.sqlite")

    @property
    def request_log(self) -> Path:
        return self.folder / "requests.jsonl"

    def client(self, key: str = KEY, **more: Any) -> openai.OpenAI:
        """The official client, without retries of its own."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=120, **more)

    def async_client(self, key: str = KEY) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=120)

    def call(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        *,
        key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        sent = {"Content-Type": "application/json", **(headers or {})}
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key}")
        try:
            connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body, sent)
            reply = connection.getresponse()
            return Answer(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def chat(self, body: bytes | dict[str, Any], key: str | None = KEY, **headers: str) -> Answer:
        """POST /v1/chat/completions; `X_Budget="1"` becomes the header X-Budget."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("POST", "/v1/chat/completions", body, key=key, headers=named)

    def route(self, body: dict[str, Any], key: str = KEY, **headers: str) -> dict[str, Any]:
        """POST /v1/route: the decision table."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.call("POST", "/v1/route", body, key=key, headers=named)
        assert answer.status == 200, answer
        return dict(answer.json)

    def input_tokens(self, body: dict[str, Any]) -> int:
        """What a request's input is taken for where the provider counts nothing."""
        return int(self.route(body)["candidates"][0]["input_tokens"])

    def usage(self, key: str = KEY) -> dict[str, int]:
        """The tenant's window in nanodollars: limit, spent, held, remaining."""
        windows = self.call("GET", "/v1/usage", key=key).json["windows"]
        assert len(windows) == 1
        return {name: round(windows[0][f"{name}_usd"] * 1e9) for name in ("limit", "spent", "held", "remaining")}

    def metric(self, name: str, **labels: str) -> float:
        """One sample of GET /metrics; zero when it is not there."""
        text = self.call("GET", "/metrics", key=None).body.decode()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return next((s.value for s in samples if s.name == name and s.labels == labels), 0.0)

    def assert_charged(self, answer: Answer, *charges: int) -> None:
        """These are the charges of the first tenant's last request; all is settled, and all else agrees with them."""
        self.ledger.assert_settled()
        request_id = answer.headers["x-request-id"]
        assert [entry.charge for entry in self.ledger.entries(request_id)] == list(charges)
        outcome, usage = self.ledger.outcome(request_id), self.usage()
        assert outcome["cost_nanousd"] == sum(charges)
        assert usage["spent"] == self.ledger.charged()
        assert outcome["status"] == answer.status
        if "text/event-stream" not in answer.headers["content-type"] and charges:
            assert answer.headers["x-budget-remaining"] == usd(usage["remaining"])

    def assert_no_trace(self) -> None:
        """Nothing went wrong inside."""
        faults = [line for line in self.log if "Traceback" in line or "ERROR" in line or "CRITICAL" in line]
        assert not faults, "\n".join(faults)


def settings_for(folder: Path, provider_url: str, **changes: Any) -> dict[str, Any]:
    """A configuration with three candidates at one provider and two tenants; `changes` replace whole sections."""
    candidates = [
        {"name": name, "provider": "pool", "input_usd_per_mtok": dear, "output_usd_per_mtok": dearer}
        for name, (dear, dearer) in PRICES.items()
    ]
    return {
        "store": {"path": str(folder / "loupe.sqlite")},
        "log": {"path": str(folder / "requests.jsonl")},
        "images": {"schemes": ["http", "https"]},
        "encoder": {"timeout_ms": 60_000},
        "router": {"timeout_ms": 60_000},
        "providers": {"pool": {"base_url": provider_url}},
        "candidates": candidates,
        "tenants": [
            {"name": "first", "keys": [{"sha256": hash_key(KEY)}], "budget": {"usd": 100.0}, "quality_weight": 1.0},
            {"name": "other", "keys": [{"sha256": hash_key(OTHER_KEY)}], "budget": {"usd": 1.0, "period": "day"}},
        ],
        **changes,
    }


@contextmanager
def serving_gateway(
    raw: Mapping[str, Any],
    folder: Path,
    *,
    encoder: Encoder | None = None,
    router: Router | None = None,
    look_up: LookUp = look_up,
    config: Path | None = None,
    processes: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Iterator[Site]:
    """The gateway on these settings in a thread while the block runs; it reads them from `config` again. It goes by
    `clock`, and takes itself for one of so many `processes`.
    """
    encoder = encoder or FakeEncoder()
    router = router or FakeRouter(tuple(FORECASTS), FORECASTS, encoder_digest=encoder.digest)
    app = Gateway(
        Settings.model_validate(raw),
        encoder=encoder,
        router=router,
        look_up=look_up,
        config=config,
        processes=processes,
        clock=clock,
    )
    site = Site("127.0.0.1", 0, folder, metrics=app.metrics)
    gather = _Gather(site.log)
    logging.getLogger().addHandler(gather)
    try:
        with served(app, http=OnePieceProtocol) as (site.port, server):
            assert server.started, "\n".join(site.log)
            yield site
    finally:
        logging.getLogger().removeHandler(gather)


class _Gather(logging.Handler):
    """Keeps formatted lines."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
