"""The start of a gateway: whatever keeps it from starting is said in one line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.app.asgi import Gateway, reason_of
from gateway.config.settings import Settings
from gateway.errors import ConfigError, StoreError
from tests.e2e.harness.site import FORECASTS, settings_for
from tests.fakes.encoder import FakeEncoder
from tests.fakes.router import FakeRouter


class Clock:
    """A clock that fails, as anything that a start needs may fail."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def __call__(self) -> float:
        if self.error is not None:
            raise self.error
        return 1_000.0


def gateway(folder: Path, clock: Clock, **changes: Any) -> Gateway:
    encoder = FakeEncoder()
    router = FakeRouter(tuple(FORECASTS), FORECASTS, encoder_digest=encoder.digest)
    settings = Settings.model_validate(settings_for(folder, "http://127.0.0.1:9/v1", **changes))
    return Gateway(settings, encoder=encoder, router=router, clock=clock)


def lifespan(app: Gateway) -> list[dict[str, Any]]:
    """What the gateway tells its server, which starts it and ends it at once."""
    told: list[dict[str, Any]] = []
    asked = iter(({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))

    async def receive() -> dict[str, Any]:
        return next(asked)

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    asyncio.run(app({"type": "lifespan"}, receive, send))
    return told


def test_a_gateway_that_starts_and_ends_says_so(tmp_path: Path) -> None:
    assert [each["type"] for each in lifespan(gateway(tmp_path, Clock()))] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("a bug of ours"), "KeyError: 'a bug of ours' (test_asgi.py, line "),
        (ValueError("two\nlines"), "ValueError: two lines (test_asgi.py, line "),
        (StoreError("the disk is gone"), "the disk is gone"),
        (OSError(), "OSError: "),
    ],
)
def test_whatever_keeps_it_from_starting_is_said_in_a_line(tmp_path: Path, error: Exception, reason: str) -> None:
    [told] = lifespan(gateway(tmp_path, Clock(error)))
    assert told["type"] == "lifespan.startup.failed"
    assert told["message"].startswith(reason)
    assert "\n" not in told["message"]


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "redis+sentinel://localhost:26379/word",
        "redis://:x@localhost:word/0",
        "redis://localhost:1/0?word=1",
        "redis://localhost:1/0?socket_timeout=word",
    ],
)
def test_what_is_no_address_of_redis_is_refused_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("MY_REDIS", url)
    store = {"kind": "redis", "path": str(tmp_path / "loupe.sqlite"), "redis_url_env": "MY_REDIS"}
    [told] = lifespan(gateway(tmp_path, Clock(), store=store))
    assert told["type"] == "lifespan.startup.failed"
    assert told["message"].startswith("the environment variable MY_REDIS does not hold an address of Redis, such as ")
    assert "word" not in told["message"]


def test_an_error_at_the_end_is_no_failed_start(tmp_path: Path) -> None:
    clock = Clock()
    app = gateway(tmp_path, clock)
    told: list[str] = []

    async def receive() -> dict[str, Any]:
        if told:
            raise ZeroDivisionError("at the end")
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        told.append(message["type"])

    asyncio.run(app({"type": "lifespan"}, receive, send))
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.failed"]


def test_a_fault_of_ours_keeps_its_words() -> None:
    assert reason_of(ConfigError("gateway.yaml: 2 fault(s)\n  a: b")) == "gateway.yaml: 2 fault(s)\n  a: b"
