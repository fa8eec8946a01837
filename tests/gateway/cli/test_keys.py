"""`loupe keys` and `loupe tenants` on a store of their own: what they print, what they refuse, what stays behind."""

from __future__ import annotations

import json
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli import main
from gateway.cli.arguments import moment, seconds
from gateway.config.secrets import hash_key
from gateway.config.settings import load_config
from gateway.config.tenants import declared_in
from gateway.stores.sqlite.tenants import SqliteTenants
from gateway.tenants.key_hash import KeyHash
from gateway.tenants.provisioning import read_in
from tests.gateway.config.test_settings import GOOD


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump({**GOOD, "store": {"path": str(tmp_path / "loupe.sqlite")}}), encoding="utf-8")
    return path


class Loupe:
    """The command on one configuration."""

    def __init__(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._config = config
        self._capsys = capsys

    def __call__(self, *words: str) -> Any:
        """What it prints as JSON."""
        assert main([*words, "--json", "--config", str(self._config)]) == 0
        return json.loads(self._capsys.readouterr().out)

    def text(self, *words: str) -> str:
        assert main([*words, "--config", str(self._config)]) == 0
        return self._capsys.readouterr().out

    def refused(self, *words: str) -> str:
        assert main([*words, "--config", str(self._config)]) == 1
        captured = self._capsys.readouterr()
        assert captured.out == ""
        return captured.err


@pytest.fixture
def loupe(config: Path, capsys: pytest.CaptureFixture[str]) -> Loupe:
    return Loupe(config, capsys)


def test_a_tenant_is_made_changed_and_taken_off(loupe: Loupe) -> None:
    words = ("--budget", "usd=25,period=month,zone=Europe/Berlin", "--budget", "requests=60,period=minute,soft=true")
    [made] = loupe("tenants", "create", "shop", *words, "--candidates", "large,small")
    assert [(b.get("usd"), b.get("requests"), b["zone"], b["soft"]) for b in made["budgets"]] == [
        (25.0, None, "Europe/Berlin", False),
        (None, 60, "UTC", True),
    ]
    assert made["candidates"] == ["large", "small"]
    [changed] = loupe("tenants", "update", "shop", "--quality-weight", "0.3", "--no-budgets", "--candidates", "all")
    assert (changed["quality_weight"], changed["budgets"], changed["candidates"]) == (0.3, [], None)
    assert {row["name"] for row in loupe("tenants", "list")} == {"acme", "shop"}
    assert "shop is deleted, and its keys are revoked" in loupe.text("tenants", "delete", "shop")
    assert {row["name"] for row in loupe("tenants", "list")} == {"acme"}


def test_pacing_and_exploration_are_set_and_switched_off(loupe: Loupe) -> None:
    [made] = loupe("tenants", "create", "shop", "--exploration", "rate=0.1,budget_share=0.5")
    assert made["pacing"] == {"plan": "learned", "burst": 0.05}
    assert (made["exploration"]["rate"], made["exploration"]["slack"]) == (0.1, 0.1)
    [changed] = loupe("tenants", "update", "shop", "--pacing", "plan=even,burst=0.2")
    assert (changed["pacing"], changed["exploration"]) == ({"plan": "even", "burst": 0.2}, made["exploration"])
    [changed] = loupe("tenants", "update", "shop", "--pacing", "even", "--exploration", "on")
    assert (changed["pacing"]["plan"], changed["exploration"]["rate"]) == ("even", 0.05)
    [changed] = loupe("tenants", "update", "shop", "--pacing", "off", "--exploration", "off")
    assert (changed["pacing"], changed["exploration"]) == (False, False)
    assert "pacing.burst" in loupe.refused("tenants", "update", "shop", "--pacing", "burst=7")


def test_a_tenant_of_the_file_is_known_before_a_gateway_ran_and_is_the_files(loupe: Loupe, config: Path) -> None:
    key = loupe("keys", "create", "--tenant", "acme")
    assert (key["tenant"], key["provisioned"]) == ("acme", False)
    loupe("tenants", "create", "shop")
    assert {row["name"]: row["provisioned"] for row in loupe("tenants", "list")} == {"acme": True, "shop": False}
    for words in (("update", "acme", "--quality-weight", "0.3"), ("delete", "acme")):
        said = loupe.refused("tenants", *words)
        assert said == f"loupe tenants: the tenant 'acme' is provisioned by {config}: change it there, and reload\n"
    assert loupe("keys", "revoke", key["id"])[0]["state"] == "revoked", "its keys are the command's"


def test_a_key_of_the_file_is_listed_and_not_changed(loupe: Loupe, config: Path) -> None:
    settings = load_config(config)
    with closing(SqliteTenants(settings.store.path)) as store:
        store.open()
        key_hash = KeyHash(store.secret(None)[0])
        declared = declared_in(settings, key_hash, config)
        store.change(lambda registry: read_in(registry, declared, 100.0))
    [row] = loupe("keys", "list")
    assert (row["tenant"], row["provisioned"], row["from"]) == ("acme", True, "configuration")
    for action in ("revoke", "rotate"):
        said = loupe.refused("keys", action, row["id"])
        assert f"is provisioned by {config}: change it there" in said
        assert len(said.splitlines()) == 1
    assert loupe("keys", "list") == [row]
    assert [each["state"] for each in loupe("keys", "revoke", "--all")] == ["revoked"], "the way to another secret"


def test_a_key_is_shown_once(loupe: Loupe, tmp_path: Path) -> None:
    shown = loupe.text("keys", "create", "--tenant", "acme", "--name", "laptop")
    key = shown.split()[1]
    assert key.startswith("sk-loupe-")
    assert len(key) > 40
    listed = loupe.text("keys", "list")
    assert "laptop" in listed
    assert key not in listed
    for place in tmp_path.iterdir():
        assert key.encode() not in place.read_bytes()
        assert hash_key(key).encode() not in place.read_bytes(), "nor is its plain hash kept"


def test_a_key_has_expiry_budgets_and_candidates(loupe: Loupe) -> None:
    words = ("--expires", "30d", "--budget", "tokens=1000,period=day", "--candidates", "small")
    before = time.time()
    made = loupe("keys", "create", "--tenant", "acme", *words)
    assert is_between(made["expires"], before + 30 * 86_400, time.time() + 30 * 86_400)
    assert made["budgets"][0]["tokens"] == 1000
    assert made["candidates"] == ["small"]
    assert made["name"] == made["id"]


def test_a_rotated_key_keeps_its_name_and_ends_after_its_grace(loupe: Loupe) -> None:
    old = loupe("keys", "create", "--tenant", "acme", "--name", "laptop")
    before = time.time()
    new = loupe("keys", "rotate", old["id"], "--grace", "24h")
    after = time.time()
    assert new["key"] != old["key"]
    rows = {row["id"]: row for row in loupe("keys", "list", "--tenant", "acme")}
    assert rows[new["id"]]["name"] == "laptop"
    assert rows[new["id"]]["expires"] is None
    assert is_between(rows[old["id"]]["expires"], before + 86_400, after + 86_400)
    assert "rotated already" in loupe.refused("keys", "rotate", old["id"])


def is_between(written: str, earliest: float, latest: float) -> bool:
    """Whether a time that is written to the second lies between two, in seconds since the epoch."""
    return earliest - 1 <= datetime.fromisoformat(written).timestamp() <= latest + 1


def test_what_has_ended_is_listed_when_asked_for(loupe: Loupe) -> None:
    key = loupe("keys", "create", "--tenant", "acme")
    assert loupe("keys", "revoke", key["id"])[0]["state"] == "revoked"
    assert loupe("keys", "list") == []
    assert [row["id"] for row in loupe("keys", "list", "--all")] == [key["id"]]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("tenants", "create", "acme"), "'acme' already"),
        (("tenants", "create", "a/b"), "name: "),
        (("tenants", "create", "a", "--budget", "usd=-1"), "budgets[0].usd"),
        (("tenants", "create", "a", "--budget", "euro=1"), "budgets[0].euro"),
        (("tenants", "create", "a", "--candidates", "gpt-none"), "gpt-none"),
        (("tenants", "update", "nobody"), "nobody"),
        (("tenants", "create", "a", "--quality-weight", "2"), "quality_weight"),
        (("tenants", "delete", "nobody"), "nobody"),
        (("keys", "create", "--tenant", "nobody"), "nobody"),
        (("keys", "create", "--tenant", "acme", "--candidates", "gpt-none"), "gpt-none"),
        (("keys", "create", "--tenant", "acme", "--name", "a b"), "name"),
        (("keys", "list", "--tenant", "nobody"), "nobody"),
        (("keys", "revoke", "key_none"), "key_none"),
        (("keys", "revoke"), "--all"),
        (("keys", "rotate", "key_none"), "key_none"),
    ],
)
def test_what_can_not_be_done_is_said_in_a_line(loupe: Loupe, words: tuple[str, ...], reason: str) -> None:
    said = loupe.refused(*words)
    assert said.startswith(f"loupe {words[0]}: ")
    assert reason in said
    assert len(said.splitlines()) == 1


def test_another_secret_can_make_no_keys_until_all_are_revoked(loupe: Loupe, monkeypatch: pytest.MonkeyPatch) -> None:
    loupe("keys", "create", "--tenant", "acme")
    monkeypatch.setenv("LOUPE_KEY_SECRET", "another-secret-0123456789")
    assert "another secret" in loupe.refused("keys", "create", "--tenant", "acme")
    assert len(loupe("keys", "list")) == 1, "lists need no secret"
    loupe("keys", "revoke", "--all")
    assert loupe("keys", "create", "--tenant", "acme")["state"] == "active"
    monkeypatch.delenv("LOUPE_KEY_SECRET")
    assert "another secret" in loupe.refused("keys", "create", "--tenant", "acme")


def test_a_store_that_can_not_be_had_is_said(loupe: Loupe, tmp_path: Path) -> None:
    (tmp_path / "loupe.sqlite").write_bytes(b"no database, and long enough to be seen as none" * 30)
    assert "loupe.sqlite" in loupe.refused("keys", "list")


def test_a_key_for_the_file_comes_with_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "make"]) == 0
    key, hashed = (line.split()[1] for line in capsys.readouterr().out.splitlines())
    assert hash_key(key) == hashed


@pytest.mark.parametrize(("words", "expected"), [("90s", 90), ("15m", 900), ("1.5h", 5_400), ("30d", 2_592_000)])
def test_durations_are_words(words: str, expected: float) -> None:
    assert seconds(words) == expected


def test_a_moment_without_a_zone_is_utc() -> None:
    assert moment("2027-01-31T00:00:00") == datetime(2027, 1, 31, tzinfo=UTC)
    assert moment("2027-01-31T00:00:00+02:00").timestamp() == datetime(2027, 1, 30, 22, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "rotate", "k", "--grace", "soon"),
        ("keys", "create", "--tenant", "acme", "--expires", "soon"),
        ("tenants", "create", "a", "--budget", "25"),
        ("keys",),
    ],
)
def test_words_that_are_off_are_a_fault_of_the_call(words: tuple[str, ...], config: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--config", str(config)])
    assert ended.value.code == 2
