"""The router watch: what is promoted comes into service, and what cannot be used does not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.app.router_watch import RouterWatch, live_router, watch_router, widened_for
from gateway.config.settings import RouterConfig
from gateway.errors import ConfigError
from gateway.routing.catalog import Catalog
from gateway.telemetry.metrics import Metrics
from routers.algorithms.cold_start import ColdStartRouter
from routers.artifact import NUMBERS, ArtifactError, load
from routers.artifact_store import CURRENT, ArtifactStore, facts_of, usable
from routers.base import Forecast, Views
from tests.fakes.artifacts import written_artifact
from tests.fakes.encoder import FakeEncoder
from tests.fakes.router import FakeRouter
from tests.gateway.billing.makers import candidate

FACTS = facts_of(FakeEncoder())
NEVER_S = 3_600.0
"""So long between two looks that a test makes all of them itself."""


def fallback() -> FakeRouter:
    return FakeRouter(("small", "large"), encoder_digest=FakeEncoder.digest)


class OtherEncoder(FakeEncoder):
    """Another encoder, of the same views."""

    digest = "another encoder"


class Artifacts:
    """Trained routers in a folder, each made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, mean: float, encoder: FakeEncoder | None = None) -> Path:
        """A router of this mean score."""
        encoder = encoder or FakeEncoder()
        folder = self._folder / f"{encoder.digest}-{mean}"
        if not folder.exists():
            written_artifact(folder, {"small": mean, "large": 0.5}, encoder)
        return folder


@dataclass
class Watched:
    """A router watch on a shelf in a folder; its thread sleeps, and the test looks."""

    store: ArtifactStore
    live: RouterWatch
    made: Artifacts

    @property
    def serves(self) -> str:
        return self.live.in_service.router.digest

    @property
    def counts(self) -> tuple[int, int]:
        """(swaps, failures)"""
        return self.live.swaps, self.live.failures

    def promoted(self, mean: float) -> str:
        """Promote a router that forecasts this mean score; its digest."""
        digest = self.store.add(self.made.folder(mean))
        self.store.promote(digest, "today")
        return digest

    def spoil(self, digest: str) -> None:
        """Cut a version's numbers short."""
        (self.store.path(digest) / NUMBERS).write_bytes(b"short")


@contextmanager
def opened(watched: Watched) -> Iterator[Watched]:
    watched.live.open()
    try:
        yield watched
    finally:
        watched.live.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    artifacts = Artifacts(tmp_path_factory.mktemp("made"))
    for mean in (0.9, 0.1, 0.3):
        artifacts.folder(mean)
    return artifacts


@pytest.fixture
def watched(tmp_path: Path, made: Artifacts) -> Watched:
    store = ArtifactStore(tmp_path / "shelf")
    return Watched(store, RouterWatch(store, fallback(), FACTS, look_s=NEVER_S), made)


def test_while_nothing_is_promoted_the_configurations_router_serves(watched: Watched) -> None:
    with opened(watched):
        watched.live.look()
        assert (watched.serves, watched.counts) == ("fake-router", (0, 0))


def test_without_a_shelf_nothing_is_looked_for() -> None:
    live = RouterWatch(None, fallback(), FACTS)
    before = threading.active_count()
    live.open()
    live.look()
    assert threading.active_count() == before
    live.close()
    assert (live.in_service.router.digest, live.swaps, live.failures) == ("fake-router", 0, 0)


def test_what_was_promoted_last_serves_from_the_start_and_is_no_swap(watched: Watched) -> None:
    digest = watched.promoted(0.9)
    with opened(watched):
        assert (watched.serves, watched.counts) == (digest, (0, 0))
        watched.live.look()
        assert watched.counts == (0, 0)


def test_what_is_promoted_takes_the_place_of_what_serves_at_the_next_look(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(watched):
        first = watched.promoted(0.9)
        assert watched.serves == "fake-router"
        with caplog.at_level(logging.INFO, "loupe"):
            watched.live.look()
        assert caplog.messages == [f"router {first[:12]} is in service"]
        assert (watched.serves, watched.counts) == (first, (1, 0))
        second = watched.promoted(0.1)
        watched.live.look()
        watched.live.look()
        assert (watched.serves, watched.counts) == (second, (2, 0))


def test_what_is_rolled_back_gives_its_place_to_what_was_before(watched: Watched) -> None:
    first, second = watched.promoted(0.9), watched.promoted(0.1)
    with opened(watched):
        assert watched.serves == second
        watched.store.roll_back("tonight")
        watched.live.look()
        assert (watched.serves, watched.counts) == (first, (1, 0))
        watched.store.roll_back("later")
        watched.live.look()
        assert (watched.serves, watched.counts) == ("fake-router", (2, 0))


def test_a_change_that_leaves_the_same_router_is_no_swap(watched: Watched) -> None:
    first = watched.promoted(0.9)
    with opened(watched):
        watched.promoted(0.1)
        watched.store.roll_back("tonight")
        watched.live.look()
        assert (watched.serves, watched.counts) == (first, (0, 0))


def test_what_is_broken_is_said_once_and_the_one_before_goes_on(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    first = watched.promoted(0.9)
    with opened(watched):
        broken = watched.promoted(0.1)
        watched.spoil(broken)
        for _ in range(3):
            watched.live.look()
        assert (watched.serves, watched.counts) == (first, (0, 1))
        [message] = caplog.messages
        assert message.startswith(f"router {first[:12]} stays in service: ")
        assert "altered or cut short" in message
        third = watched.promoted(0.3)
        watched.live.look()
        assert (watched.serves, watched.counts) == (third, (1, 1))


def test_a_start_with_a_broken_router_takes_the_one_before_it(watched: Watched) -> None:
    first, broken = watched.promoted(0.9), watched.promoted(0.1)
    watched.spoil(broken)
    with opened(watched):
        assert (watched.serves, watched.counts) == (first, (0, 1))
        watched.live.look()
        assert watched.counts == (0, 1), "what fails is not tried again"


def test_a_start_with_none_but_broken_routers_falls_back(watched: Watched) -> None:
    for digest in [watched.promoted(0.9), watched.promoted(0.1)]:
        watched.spoil(digest)
    with opened(watched):
        assert (watched.serves, watched.counts) == ("fake-router", (0, 2))


@pytest.mark.parametrize("mark", [b"{", b'{"format": 2, "stack": [], "history": []}', b'{"format": 1}'])
def test_a_pointer_that_cannot_be_read_changes_nothing(watched: Watched, mark: bytes) -> None:
    first = watched.promoted(0.9)
    good = watched.store.mark()
    with opened(watched):
        (watched.store.folder / CURRENT).write_bytes(mark)
        watched.live.look()
        watched.live.look()
        assert (watched.serves, watched.counts) == (first, (0, 1))
        (watched.store.folder / CURRENT).write_bytes(good)
        watched.live.look()
        assert (watched.serves, watched.counts) == (first, (0, 1))


def test_a_start_with_a_pointer_that_cannot_be_read_falls_back(watched: Watched) -> None:
    watched.promoted(0.9)
    (watched.store.folder / CURRENT).write_bytes(b"{")
    with opened(watched):
        assert (watched.serves, watched.counts) == ("fake-router", (0, 1))


def test_a_router_of_another_encoder_is_not_taken(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    with opened(watched):
        digest = watched.store.add(watched.made.folder(0.9, OtherEncoder()))
        watched.store.promote(digest, "today")
        watched.live.look()
        assert (watched.serves, watched.counts) == ("fake-router", (0, 1))
        assert "was trained on the encoder another enco" in caplog.messages[0]


class Surprising(ArtifactStore):
    """A shelf that fails as no shelf should, and tells when it was asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_surprising = False
        self.asked = threading.Event()

    def mark(self) -> bytes:
        self.asked.set()
        if self.is_surprising:
            raise ZeroDivisionError("unheard of")
        return super().mark()


def test_whatever_fails_the_watch_goes_on(tmp_path: Path, made: Artifacts, caplog: pytest.LogCaptureFixture) -> None:
    store = Surprising(tmp_path / "shelf")
    watched = Watched(store, RouterWatch(store, fallback(), FACTS, look_s=NEVER_S), made)
    with opened(watched):
        store.is_surprising = True
        watched.live.look()
        assert watched.counts == (0, 1)
        assert caplog.messages == ["router fake-router stays in service: ZeroDivisionError: unheard of"]
        store.is_surprising = False
        digest = watched.promoted(0.9)
        watched.live.look()
        assert watched.serves == digest


def test_its_thread_looks_until_it_is_closed(tmp_path: Path, made: Artifacts) -> None:
    store = Surprising(tmp_path / "shelf")
    watched = Watched(store, RouterWatch(store, fallback(), FACTS, look_s=0.001), made)
    with opened(watched):
        for _ in range(3):
            store.asked.clear()
            assert store.asked.wait(60.0), "nobody looks"
    assert "live-router" not in {thread.name for thread in threading.enumerate()}


class Odd(FakeRouter):
    """Forecasts what a test gives it."""

    def __init__(self, **arrays: Any) -> None:
        super().__init__(("small", "large"), encoder_digest=FakeEncoder.digest)
        self._arrays = arrays

    def forecast(self, views: Views) -> Forecast:
        plain = dict.fromkeys(("quality", "quality_std", "output_tokens", "output_tokens_high"), np.ones((1, 2)))
        return Forecast(**{**plain, **self._arrays})


@pytest.mark.parametrize("name", ["quality", "quality_std", "output_tokens", "output_tokens_high"])
@pytest.mark.parametrize("values", [np.ones((1, 3)), np.ones((2, 2)), np.array([[1.0, np.nan]])])
def test_a_router_must_forecast_finite_numbers_for_all_its_candidates(name: str, values: Any) -> None:
    with pytest.raises(ArtifactError, match="not finite, or not for all candidates"):
        usable(Odd(**{name: values}), FACTS)


@pytest.mark.parametrize("error", [KeyError("view"), ValueError("x"), IndexError("x"), TypeError("x")])
def test_a_router_that_fails_its_first_forecast_is_not_taken(error: Exception) -> None:
    router = FakeRouter(("small",), fail=error, encoder_digest=FakeEncoder.digest)
    with pytest.raises(ArtifactError, match="fake-router cannot forecast"):
        usable(router, FACTS)


def test_a_router_that_fits_is_tried_once_and_given_back() -> None:
    router = fallback()
    assert usable(router, FACTS) is router
    assert router.calls == 1


def test_the_configuration_names_the_router_that_serves_first(tmp_path: Path, made: Artifacts) -> None:
    digest = load(made.folder(0.9)).digest
    section = RouterConfig(artifact=str(made.folder(0.9)))
    assert live_router(section, FakeEncoder()).in_service.router.digest == digest
    assert live_router(section, FakeEncoder(), fallback()).in_service.router.digest == "fake-router"
    alone = live_router(section, FakeEncoder())
    with opened(Watched(ArtifactStore(tmp_path), alone, made)):
        alone.look()
    assert (alone.in_service.router.digest, alone.swaps, alone.failures) == (digest, 0, 0), "nothing is looked for"
    with pytest.raises(ConfigError, match=r"router\.artifact: .*nowhere"):
        live_router(RouterConfig(artifact=str(tmp_path / "nowhere")), FakeEncoder())
    with pytest.raises(ConfigError, match=r"router\.artifact: the router was trained on the encoder"):
        live_router(section, OtherEncoder())


def test_the_configuration_names_the_shelf_that_is_watched(watched: Watched) -> None:
    digest = watched.promoted(0.9)
    live = live_router(RouterConfig(artifacts=watched.store.folder), FakeEncoder(), fallback())
    live.open()
    live.close()
    assert live.in_service.router.digest == digest


def test_metrics_say_which_router_serves_and_what_became_of_the_others(watched: Watched) -> None:
    metrics = Metrics()
    watch_router(watched.live, metrics)
    with opened(watched):
        digest = watched.promoted(0.9)
        watched.live.look()
        watched.spoil(watched.promoted(0.1))
        watched.live.look()
        text = metrics.render().decode()
    assert f'loupe_router_info{{digest="{digest}"}} 1' in text
    assert "loupe_router_swaps_total 1" in text
    assert "loupe_router_load_failures_total 1" in text


def test_candidates_that_a_router_does_not_know_are_forecast_as_others_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    known = Catalog((candidate("small"), candidate("large")))
    assert widened_for(fallback(), known).candidates == ("small", "large")
    with caplog.at_level(logging.INFO, "loupe"):
        found = widened_for(fallback(), Catalog((candidate("small"), candidate("large"), candidate("new"))))
    assert isinstance(found, ColdStartRouter)
    assert found.candidates == ("small", "large", "new")
    [message] = caplog.messages
    assert message.startswith("router fake-router does not know new: forecast as ")
