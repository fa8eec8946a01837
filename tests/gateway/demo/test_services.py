"""Starting and ending the demo's processes."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from gateway.config.settings import load_config
from gateway.demo.ledger import read_pool_log
from gateway.demo.services import HOST, ServiceError, demo_tenants, free_port, running, write_config
from gateway.providers.replay.candidates import CANDIDATES
from gateway.providers.replay.drawn_table import simulate, write_table
from gateway.providers.replay.tasks import draw_tasks


@pytest.mark.slow
def test_process_runs_while_the_block_does_and_no_longer(tmp_path: Path) -> None:
    table = write_table(simulate(draw_tasks(2, seed=1), CANDIDATES, seed=1), tmp_path)
    port = free_port()
    words = ["replay", "--table", str(table), "--port", str(port)]
    with pytest.raises(ZeroDivisionError), running("pool", words, port, "/v1/models", tmp_path / "log"):
        assert read_pool_log(port) == []
        raise ZeroDivisionError
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    with pytest.raises(ConnectionRefusedError):
        connection.request("GET", "/")


@pytest.mark.slow
def test_process_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    words = ["replay", "--table", str(tmp_path / "gone.csv"), "--port", "0"]
    with (
        pytest.raises(ServiceError, match=r"pool did not start \(status 1\)[\s\S]*cannot read the outcome table"),
        running("pool", words, free_port(), "/v1/models", tmp_path / "log"),
    ):
        pytest.fail("it must not be entered")


def test_configuration_is_one_that_the_gateway_takes(tmp_path: Path) -> None:
    tenants = demo_tenants()
    path = write_config(tmp_path, 4_711, 4_712, CANDIDATES, tenants)
    settings = load_config(path)
    assert [candidate.name for candidate in settings.candidates] == [candidate.name for candidate in CANDIDATES]
    assert [tenant.name for tenant in settings.tenants] == ["alpha", "bravo", "charlie"]
    text = path.read_text(encoding="utf-8")
    assert not any(tenant.key in text for tenant in tenants)
