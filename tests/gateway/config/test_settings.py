"""The configuration file: what is read, and that every fault names its key and its value, and no secret."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.secrets import hash_key, key_secret, secret_from
from gateway.config.settings import ProvisionedKeyConfig, Settings, StoreConfig, load_config
from gateway.errors import ConfigError
from gateway.tenants.policy import ExplorationSettings, TenantPacingSettings
from gateway.tenants.registry import TenantSettings
from gateway.tenants.schema import TenantConfig, tenant_as_written

ROOT = Path(__file__).resolve().parents[3]
HASH = hash_key("a key")
GOOD: dict[str, Any] = {
    "providers": {"pool": {"base_url": "http://127.0.0.1:9000/v1"}},
    "candidates": [
        {"name": "small", "provider": "pool", "input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.4},
        {"name": "large", "provider": "pool", "input_usd_per_mtok": 2, "output_usd_per_mtok": 8},
    ],
    "tenants": [{"name": "acme", "keys": [{"sha256": HASH}]}],
}


def write(folder: Path, content: Any) -> Path:
    path = folder / "gateway.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def changed(where: str, value: Any) -> dict[str, Any]:
    """The good file with one value set, at a path such as `candidates.0.name`."""
    found = copy.deepcopy(GOOD)
    *path, last = [int(step) if step.isdigit() else step for step in where.split(".")]
    place: Any = found
    for step in path:
        place = place[step] if isinstance(step, int) else place.setdefault(step, {})
    place[last] = value
    return found


def test_the_least_file_is_enough(tmp_path: Path) -> None:
    settings = load_config(write(tmp_path, GOOD))
    assert [candidate.name for candidate in settings.candidates] == ["small", "large"]
    assert settings.server.host == "127.0.0.1"
    assert settings.tenants[0].budget is None
    assert settings.tenants[0].on_infeasible == "refuse"
    assert settings.images.schemes == ("https",)


def test_the_shipped_file_is_good_and_names_every_key() -> None:
    path = ROOT / "deploy" / "gateway.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    load_config(path)
    assert set(raw) == set(Settings.model_fields) - {"tenants_from"}, "which is accepted and has no effect"
    for name in ("server", "store", "log", "images", "encoder", "router"):
        section = Settings.model_fields[name].annotation
        assert section is not None
        assert set(raw[name]) == set(section.model_fields)


@pytest.mark.parametrize(
    ("where", "value", "key", "shown"),
    [
        ("server.port", 70_000, "server.port", "70000"),
        ("server.port", "eighty", "server.port", "eighty"),
        ("server.max_body_mb", 0, "server.max_body_mb", "0"),
        ("server.hots", "x", "server.hots", "Extra inputs"),
        ("severs", {}, "severs", "Extra inputs"),
        ("images.schemes", ["ftp"], "images.schemes[0]", "ftp"),
        ("images.timeout_s", -1, "images.timeout_s", "-1"),
        ("images.timeout_s", float("nan"), "images.timeout_s", "nan"),
        ("encoder.timeout_ms", 0, "encoder.timeout_ms", "0"),
        ("max_attempts", 0, "max_attempts", "0"),
        ("content.days", 0, "content.days", "0"),
        ("content.kept", True, "content.kept", "Extra inputs"),
        ("decisions.keep", "perhaps", "decisions.keep", "perhaps"),
        ("policies.frugal", 1.5, "file", "1.5"),
        ("policies.auto", 0.5, "file", "auto"),
        ("policies.small", 0.5, "file", "small"),
        ("providers.pool.base_url", "ftp://x", "providers.pool.base_url", "ftp://x"),
        ("providers.pool.kind", "gemini", "providers.pool.kind", "gemini"),
        ("providers.pool.idle_s", 10**9, "providers.pool.idle_s", "1000000000"),
        ("candidates", [], "candidates", "at least 1"),
        ("candidates.0.name", "", "candidates[0].name", "''"),
        ("candidates.0.name", "a b", "candidates[0].name", "a b"),
        ("candidates.0.name", "a\nb", "candidates[0].name", "a"),
        ("candidates.0.name", "auto", "file", "auto"),
        ("candidates.0.name", "large", "file", "large appears twice"),
        ("candidates.0.provider", "pol", "file", "pol"),
        ("candidates.0.input_usd_per_mtok", -1, "candidates[0].input_usd_per_mtok", "-1"),
        ("candidates.0.input_usd_per_mtok", float("inf"), "candidates[0].input_usd_per_mtok", "inf"),
        ("candidates.0.input_usd_per_mtok", float("nan"), "candidates[0].input_usd_per_mtok", "nan"),
        ("candidates.0.output_usd_per_mtok", "cheap", "candidates[0].output_usd_per_mtok", "cheap"),
        ("candidates.0.limit_parameter", "limit", "candidates[0].limit_parameter", "limit"),
        ("candidates.0.context_tokens", 0, "candidates[0].context_tokens", "0"),
        ("tenants.0.name", "a/b", "tenants[0].name", "a/b"),
        ("tenants.0.keys.0", {}, "tenants[0].keys[0]", "either"),
        ("tenants.0.keys.0", {"sha256": HASH, "env": "X"}, "tenants[0].keys[0]", "either"),
        ("tenants.0.quality_weight", 1.1, "tenants[0].quality_weight", "1.1"),
        ("tenants.0.on_infeasible", "guess", "tenants[0].on_infeasible", "guess"),
        ("tenants.0.budget", {"usd": -1}, "tenants[0].budget.usd", "-1"),
        ("tenants.0.budget", {"usd": 1, "period": "year"}, "tenants[0].budget.period", "year"),
        ("tenants.0.budget", {"period": "day"}, "tenants[0].budget", "one of"),
        ("tenants.0.budget", {"usd": 1, "requests": 5}, "tenants[0].budget", "one of"),
        ("tenants.0.budget", {"usd": 1, "rolling": True}, "tenants[0].budget", "roll"),
        ("tenants.0.budgets", [{"usd": 1, "period": "day", "zone": "Mars/Base"}], "tenants[0].budgets[0]", "Mars/Base"),
        ("tenants.0.budgets", [{"requests": -1, "period": "minute"}], "tenants[0].budgets[0].requests", "-1"),
        ("tenants.0.pacing", {"burst": 2}, "tenants[0].pacing.burst", "2"),
        ("tenants.0.pacing", {"plan": "weekly"}, "tenants[0].pacing.plan", "weekly"),
        ("tenants.0.pacing", "sometimes", "tenants[0].pacing", "sometimes"),
        ("tenants.0.exploration", {"rate": -0.1}, "tenants[0].exploration.rate", "-0.1"),
        ("tenants.0.exploration", {"epsilon": 0.1}, "tenants[0].exploration.epsilon", "Extra inputs"),
        ("tenants.0.exploration", {"gamma": float("inf")}, "tenants[0].exploration.gamma", "inf"),
        ("tenants.0.candidates", ["small", "medium"], "file", "medium"),
        ("tenants.0.candidates", ["small", "small"], "file", "small appears twice"),
        ("tenants.0.candidates", [], "tenants[0].candidates", "at least 1"),
    ],
)
def test_each_fault_names_its_key_and_value(tmp_path: Path, where: str, value: Any, key: str, shown: str) -> None:
    path = write(tmp_path, changed(where, value))
    with pytest.raises(ConfigError) as fault:
        load_config(path)
    first, *lines = str(fault.value).splitlines()
    assert first == f"{path}: 1 fault(s)"
    assert len(lines) == 1
    assert lines[0].strip().startswith(f"{key}: ")
    assert shown in lines[0]


def test_content_is_not_kept_unless_it_is_asked_for_and_never_without_decisions(tmp_path: Path) -> None:
    found = load_config(write(tmp_path, GOOD))
    assert (found.decisions.keep, found.content.keep, found.content.days) == (True, False, 30)
    with pytest.raises(ConfigError, match="no effect without decisions"):
        load_config(write(tmp_path, {**GOOD, "content": {"keep": True}, "decisions": {"keep": False}}))


@pytest.mark.parametrize("name", ["candidates", "providers"])
def test_what_has_no_default_must_be_there(tmp_path: Path, name: str) -> None:
    less = {key: value for key, value in GOOD.items() if key != name}
    with pytest.raises(ConfigError, match=rf"{name}: Field required"):
        load_config(write(tmp_path, less))


def test_every_fault_has_its_line(tmp_path: Path) -> None:
    bad = changed("server.port", -1)
    bad["max_attempts"] = 99
    with pytest.raises(ConfigError, match=r"2 fault\(s\)\n  server\.port: .*\n  max_attempts: "):
        load_config(write(tmp_path, bad))


@pytest.mark.parametrize(
    "change",
    [
        ("tenants.0.keys.0", {"sha256": "sk-secret"}),
        ("tenants.0.keys.0", {"key": "sk-secret"}),
        ("tenants.0.keys.0", {"env": 5, "sha256": "sk-secret"}),
        ("providers.pool.api_key", "sk-secret"),
        ("providers.pool.headers", {"x-key": {"sk-secret": 1}}),
        ("providers.pool.headers", "sk-secret"),
        ("providers.pool.base_url", "https://user:sk-secret@host/v1"),
        ("providers.pool.base_url", "https://sk-secret@host/v1"),
        ("providers.pool.base_url", "HTTPS://user:sk-secret@host/v1"),
        ("providers.pool.base_url", "ftp://user:a/sk-secret@host/v1"),
    ],
)
def test_a_fault_shows_no_secret(tmp_path: Path, change: tuple[str, Any]) -> None:
    with pytest.raises(ConfigError) as fault:
        load_config(write(tmp_path, changed(*change)))
    assert "sk-secret" not in str(fault.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "a mapping is expected at the top, not NoneType"),
        ("- a\n- b\n", "a mapping is expected at the top, not list"),
        ("just text", "a mapping is expected at the top, not str"),
        ("a: [1", "not valid YAML"),
        ("a: 2001-99-99", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
        pytest.param("a: " + "[" * 5_000, "not valid YAML", marks=pytest.mark.slow),
        ("{a: 1}: 2", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_says_so(tmp_path: Path, content: str, reason: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ConfigError) as fault:
        load_config(path)
    assert str(fault.value).startswith(f"{path}: {reason}")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://user:word@host/v1", "it holds a user name or password, which is not sent: use api_key_env or headers"),
        ("http://@host/v1", "it holds a user name or password"),
        ("http://host/v1#x", "it holds a fragment (#), which is not sent"),
        ("http://host/v1?a=b#", "it holds a fragment"),
    ],
)
def test_a_base_url_with_a_part_that_is_not_sent_is_refused(tmp_path: Path, url: str, reason: str) -> None:
    with pytest.raises(ConfigError) as fault:
        load_config(write(tmp_path, changed("providers.pool.base_url", url)))
    assert f"providers.pool.base_url: {reason}" in str(fault.value)
    assert "word" not in str(fault.value).replace("password", "")


def test_an_address_sign_in_the_path_of_a_base_url_is_fine(tmp_path: Path) -> None:
    load_config(write(tmp_path, changed("providers.pool.base_url", "http://host/v1/models/x@latest?api-version=1@2")))


def test_a_section_that_stands_twice_is_no_configuration(tmp_path: Path) -> None:
    text = yaml.safe_dump(GOOD) + "tenants:\n- {name: other}\n"
    with pytest.raises(
        ConfigError, match=r"line \d+: the key 'tenants' appears twice in one mapping, first in line \d+"
    ):
        load_config(write(tmp_path, text))


def test_bytes_that_are_no_text_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(path)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path if kind == "folder" else tmp_path / "missing.yaml"
    with pytest.raises(ConfigError, match=str(path)):
        load_config(path)


def test_a_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOUPE_TEST_KEY", "a key")
    assert ProvisionedKeyConfig(env="LOUPE_TEST_KEY").hash() == ProvisionedKeyConfig(sha256=HASH).hash() == HASH
    assert hashlib.sha256(b"a key").hexdigest() == HASH


@pytest.mark.parametrize("value", ["a key\n", "a key\r\n", "\t a key \n\n"])
def test_space_around_a_secret_of_the_environment_does_not_count(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LOUPE_TEST_KEY", value)
    assert secret_from("LOUPE_TEST_KEY") == "a key"
    assert ProvisionedKeyConfig(env="LOUPE_TEST_KEY").hash() == HASH


def test_a_secret_of_nothing_but_space_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOUPE_TEST_KEY", " \n")
    with pytest.raises(ConfigError, match="LOUPE_TEST_KEY is not set"):
        secret_from("LOUPE_TEST_KEY")
    with pytest.raises(ConfigError, match="LOUPE_TEST_KEY is too short"):
        key_secret("LOUPE_TEST_KEY")


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("LOUPE_TEST_KEY", raising=False)
    else:
        monkeypatch.setenv("LOUPE_TEST_KEY", value)
    with pytest.raises(ConfigError, match="LOUPE_TEST_KEY is not set"):
        secret_from("LOUPE_TEST_KEY")


@pytest.mark.parametrize(
    ("where", "value", "shown"),
    [
        ("candidates.0.output_usd_per_mtok", None, "together"),
        ("candidates.0.price_as", "openai/gpt-4o", "price_as has no effect beside"),
        ("candidates.0.price_as", "gpt-4o", "pattern"),
        ("candidates.0.reasoning_tokens", 100, "reasons"),
        ("candidates.0.cached_input_usd_per_mtok", -1, "-1"),
    ],
)
def test_prices_that_do_not_fit_together_are_refused(tmp_path: Path, where: str, value: Any, shown: str) -> None:
    with pytest.raises(ConfigError, match=shown):
        load_config(write(tmp_path, changed(where, value)))


def test_a_candidate_may_leave_its_price_to_the_list(tmp_path: Path) -> None:
    changes = changed("candidates.0", {"name": "gpt-4o", "provider": "pool"})
    assert load_config(write(tmp_path, changes)).candidates[0].input_usd_per_mtok is None


@pytest.mark.parametrize(
    ("told", "pacing"),
    [
        ({}, TenantPacingSettings()),
        ({"pacing": True}, TenantPacingSettings()),
        ({"pacing": "on"}, TenantPacingSettings()),
        ({"pacing": {}}, TenantPacingSettings()),
        ({"pacing": {"plan": "even", "burst": 0.2}}, TenantPacingSettings("even", 0.2)),
        ({"pacing": False}, None),
        ({"pacing": "off"}, None),
    ],
)
def test_pacing_is_on_until_it_is_switched_off(told: dict[str, Any], pacing: TenantPacingSettings | None) -> None:
    terms = TenantConfig.model_validate({"name": "acme", **told}).terms()
    assert terms.pacing == pacing
    assert TenantConfig.model_validate(writable(terms)).terms() == terms


@pytest.mark.parametrize(
    ("told", "exploration"),
    [
        ({}, None),
        ({"exploration": "off"}, None),
        ({"exploration": True}, ExplorationSettings()),
        ({"exploration": {"rate": 0.5, "budget_share": 0.1}}, ExplorationSettings(rate=0.5, budget_share=0.1)),
    ],
)
def test_exploration_is_off_until_it_is_asked_for(
    told: dict[str, Any], exploration: ExplorationSettings | None
) -> None:
    terms = TenantConfig.model_validate({"name": "acme", **told}).terms()
    assert terms.exploration == exploration
    assert TenantConfig.model_validate(writable(terms)).terms() == terms


def writable(terms: TenantSettings) -> dict[str, Any]:
    """As it is shown, less what is not for writing."""
    return {name: value for name, value in tenant_as_written(terms).items() if name != "created_at"}


def test_old_names_of_the_stores_settings_are_taken_for_one_version() -> None:
    old = StoreConfig.model_validate({"lease_s": 5, "when_gone": "lease", "local_lease_usd": 0.2})
    new = StoreConfig.model_validate({"reservation_ttl_s": 5, "when_gone": "local", "local_allowance_usd": 0.2})
    assert old == new
    assert (new.reservation_ttl_s, new.when_gone, new.local_allowance_usd) == (5, "local", 0.2)


@pytest.mark.parametrize(
    "raw", [{"lease_s": 5, "reservation_ttl_s": 5}, {"local_lease_usd": 1, "local_allowance_usd": 1}]
)
def test_an_old_name_beside_its_new_one_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is the old name of"):
        StoreConfig.model_validate(raw)
