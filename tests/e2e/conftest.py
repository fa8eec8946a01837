"""Servers that the tests share. What they keep is wiped before each test, or the test has its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness.scripted_provider import ScriptedProvider, scripted_provider
from tests.e2e.harness.scripts import answer
from tests.e2e.harness.site import Site, serving_gateway, settings_for


@pytest.fixture(scope="session")
def shared_provider() -> Iterator[ScriptedProvider]:
    with scripted_provider(answer()) as found:
        yield found


@pytest.fixture
def provider(shared_provider: ScriptedProvider) -> ScriptedProvider:
    """The scripted provider, answering everything well until a test says otherwise."""
    shared_provider.forget()
    return shared_provider


@pytest.fixture(scope="session")
def lasting_site(shared_provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with serving_gateway(settings_for(folder, shared_provider.url), folder) as found:
        yield found


@pytest.fixture
def shared_site(lasting_site: Site, provider: ScriptedProvider) -> Iterator[Site]:
    """One gateway for all tests that neither count what is in it nor let its provider fail."""
    lasting_site.log.clear()
    yield lasting_site
    lasting_site.assert_no_trace()
    lasting_site.ledger.assert_settled()


@pytest.fixture
def site(provider: ScriptedProvider, tmp_path: Path) -> Iterator[Site]:
    """A gateway of one's own with three candidates at the scripted provider; best is `large`, then `middle`."""
    with serving_gateway(settings_for(tmp_path, provider.url), tmp_path) as found:
        yield found
        found.assert_no_trace()
