"""The configuration: one YAML file, read once, nothing unknown in it. Secrets are named by environment variable."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationError, model_validator

from gateway import providers, stores
from gateway.billing.money import NANODOLLARS
from gateway.config.secrets import hash_key, secret_from
from gateway.errors import ConfigError
from gateway.stores.base import StoreAddress
from gateway.tenants.schema import KeyConfig, Name, Section, TenantConfig, Usd, faults

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _kind_of(what: str, kinds: Mapping[str, object], name: str) -> str:
    """Return the name where it is one of these kinds. Raises ValueError."""
    if name not in kinds:
        raise ValueError(f"unknown {what} kind {name!r}; known: {', '.join(kinds)}")
    return name


def _local_for_lease(name: Any) -> Any:
    """Take the old name of `when_gone: local` for the new one; it is accepted for one version."""
    return "local" if name == "lease" else name


class ServerConfig(Section):
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    max_body_mb: float = Field(32, gt=0, le=512)
    shutdown_s: Seconds = 30
    admin_key_env: str = Field("LOUPE_ADMIN_KEY", min_length=1)
    """The variable that holds the key to /admin; without it /admin is closed."""
    key_secret_env: str = Field("LOUPE_KEY_SECRET", min_length=1)
    """The variable that holds the secret under which keys are hashed; without it the store keeps one."""
    workers: int = Field(1, ge=1, le=256)
    """Processes that share the port and the store."""


class StoreConfig(Section):
    kind: Annotated[str, AfterValidator(partial(_kind_of, "store", stores.KINDS))] = "sqlite"
    """Where budgets are kept. Decisions are kept in SQLite either way."""
    path: Path = Path("loupe.sqlite")
    """Decisions are kept beside it, in `loupe-decisions.sqlite`, and content in `loupe-content.sqlite`."""
    reservation_ttl_s: float = Field(60, ge=1, le=3_600, validation_alias=AliasChoices("reservation_ttl_s", "lease_s"))
    """Seconds that a reservation lives without a sign of life from its process; then it is charged in full. The old
    name `lease_s` is accepted for one version.
    """
    redis_url_env: str = "LOUPE_REDIS_URL"
    redis_limit_ms: float = Field(50, gt=0, le=10_000)
    when_gone: Annotated[Literal["closed", "local"], BeforeValidator(_local_for_lease)] = "closed"
    """Without Redis: refuse (503), or go on within what was set aside for that beforehand."""
    local_allowance_usd: float = Field(
        0.10, gt=0, le=1_000, validation_alias=AliasChoices("local_allowance_usd", "local_lease_usd")
    )
    """With `local`: what each process sets aside of each tenant's budget, in USD. The old name `local_lease_usd` is
    accepted for one version.
    """

    @model_validator(mode="before")
    @classmethod
    def _one_name_each(cls, raw: Any) -> Any:
        for new, old in (("reservation_ttl_s", "lease_s"), ("local_allowance_usd", "local_lease_usd")):
            if isinstance(raw, dict) and new in raw and old in raw:
                raise ValueError(f"{old} is the old name of {new}: say one of them")
        return raw

    @property
    def address(self) -> StoreAddress:
        """Where the store is, for `gateway.stores.KINDS`."""
        allowance = None if self.when_gone == "closed" else round(self.local_allowance_usd * NANODOLLARS)
        return StoreAddress(self.path, partial(secret_from, self.redis_url_env), self.redis_limit_ms / 1e3, allowance)


class LogConfig(Section):
    path: Path | None = None
    """Where request lines go; standard output when it is not set."""


class DecisionConfig(Section):
    keep: bool = True
    """Whether every decision is kept, beside the store: what `loupe table export` and feedback need."""
    days: float | None = Field(None, gt=0, le=3_650)
    """Decisions that are older, and their labels, are removed; null: never."""


class ContentConfig(Section):
    keep: bool = False
    """Whether questions, images and replies are kept, too: what `loupe grade` needs."""
    days: float = Field(30, gt=0, le=3_650)
    """Content that was last seen longer ago is removed."""


class ImageConfig(Section):
    schemes: tuple[Literal["https", "http"], ...] = ("https",)
    allow_hosts: tuple[str, ...] = ()
    """`host` or `host:port` that may be private; everything else must be public."""
    max_mb: float = Field(20, gt=0, le=256)
    max_pixels: int = Field(64_000_000, gt=0)
    max_per_request: int = Field(32, ge=0)
    timeout_s: Seconds = 10


class EncoderConfig(Section):
    bundle: str = "fused-lite"
    timeout_ms: float = Field(1000, gt=0)
    cache_entries: int = Field(4096, ge=1)
    threads: int = Field(1, ge=1)
    max_batch: int = Field(4, ge=1)


class RouterConfig(Section):
    artifact: str = "default"
    """`default` is the bundled one; else the path that `loupe train --out` wrote."""
    artifacts: Path | None = None
    """A folder that `loupe promote` keeps versions in: the one it says serves, `artifact` while it says none."""
    timeout_ms: float = Field(200, gt=0)


class ProviderConfig(Section):
    kind: Annotated[str, AfterValidator(partial(_kind_of, "provider", providers.KINDS))] = "openai"
    """A name in `gateway.providers.KINDS`."""
    base_url: str = Field(pattern=r"^https?://")
    api_key_env: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    connect_s: Seconds = 5
    first_byte_s: Seconds = 60
    idle_s: Seconds = 60
    total_s: Seconds = 600
    max_connections: int = Field(512, ge=1)


class CandidateConfig(Section):
    name: Name
    provider: str
    provider_model: str | None = None
    forecast_as: str | None = None
    input_usd_per_mtok: Usd | None = None
    output_usd_per_mtok: Usd | None = None
    cached_input_usd_per_mtok: Usd | None = None
    cache_write_usd_per_mtok: Usd | None = None
    price_as: str | None = Field(None, pattern=r"^[^/\s]+/\S+$")
    """`provider/model` of the bundled price list, where it is not the provider's address and `provider_model`."""
    image_tokens: str = "openai_tiles"
    """The family whose formula counts its image tokens (`gateway/billing/image_tokens.py`), or `flat:N`."""
    tokenizer: str | None = None
    """The family of its tokenizer (`gateway/billing/text_tokens.py`); by its family of images when it is not set."""
    context_tokens: int = Field(128_000, ge=1)
    max_output_tokens: int = Field(4_096, ge=1)
    sees_images: bool = True
    calls_tools: bool = True
    reasons: bool = False
    reasoning_tokens: int = Field(0, ge=0, le=1_000_000)
    """Tokens that it thinks before a reply, on average, beside what is forecast."""
    limit_parameter: Literal["max_tokens", "max_completion_tokens"] | None = None
    """`max_completion_tokens` for one that reasons, else `max_tokens`, when it is not set."""

    @model_validator(mode="after")
    def _prices_fit_together(self) -> Self:
        if (self.input_usd_per_mtok is None) != (self.output_usd_per_mtok is None):
            raise ValueError("input_usd_per_mtok and output_usd_per_mtok are set together or left out together")
        if self.price_as is not None and self.input_usd_per_mtok is not None:
            raise ValueError("price_as has no effect beside input_usd_per_mtok and output_usd_per_mtok")
        if self.reasoning_tokens and not self.reasons:
            raise ValueError("reasoning_tokens are of a candidate that `reasons`")
        return self


class ProvisionedKeyConfig(KeyConfig):
    """A key of the configuration. Without a name the first digits of its hash are its name."""

    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    env: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.sha256 is None) == (self.env is None):
            raise ValueError(
                "a key takes either `sha256` (see `loupe keys make`) or `env` (a variable that holds the key)"
            )
        return self

    def hash(self) -> str:
        """Hex sha256 of the key. Raises ConfigError when the variable is not set."""
        if self.sha256 is not None:
            return self.sha256
        return hash_key(secret_from(self.env or ""))


class ProvisionedTenantConfig(TenantConfig):
    keys: tuple[ProvisionedKeyConfig, ...] = ()


class Settings(Section):
    server: ServerConfig = ServerConfig()
    store: StoreConfig = StoreConfig()
    log: LogConfig = LogConfig()
    decisions: DecisionConfig = DecisionConfig()
    content: ContentConfig = ContentConfig()
    images: ImageConfig = ImageConfig()
    encoder: EncoderConfig = EncoderConfig()
    router: RouterConfig = RouterConfig()
    policies: dict[Name, float] = Field(default_factory=dict)
    """Further model names that route, each with its own quality weight (0 to 1)."""
    max_attempts: int = Field(3, ge=1, le=16)
    providers: dict[Name, ProviderConfig]
    candidates: tuple[CandidateConfig, ...] = Field(min_length=1)
    tenants: tuple[ProvisionedTenantConfig, ...] = ()
    tenants_from: Literal["store", "yaml"] | None = None
    """Without effect since what the file names is the file's; accepted for one more version."""

    @model_validator(mode="after")
    def _content_is_of_decisions(self) -> Self:
        if self.content.keep and not self.decisions.keep:
            raise ValueError("content.keep has no effect without decisions.keep")
        return self

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        names = [candidate.name for candidate in self.candidates]
        _unique("candidates", names)
        _unique("tenants", [tenant.name for tenant in self.tenants])
        for candidate in self.candidates:
            if candidate.provider not in self.providers:
                raise ValueError(f"candidate {candidate.name}: unknown provider {candidate.provider!r}")
        for tenant in self.tenants:
            _unique(f"tenant {tenant.name}: candidates", list(tenant.candidates or ()))
            for name in tenant.candidates or ():
                if name not in names:
                    raise ValueError(f"tenant {tenant.name}: unknown candidate {name!r}")
            _unique(f"tenant {tenant.name}: keys", [key.name for key in tenant.keys if key.name])
            for name in [name for key in tenant.keys for name in key.candidates or ()]:
                if name not in (tenant.candidates or names):
                    raise ValueError(f"tenant {tenant.name}: a key may use {name!r}, which the tenant may not")
        for policy, weight in self.policies.items():
            if policy in names or policy == "auto":
                raise ValueError(f"policy {policy!r} has a name that is taken")
            if not 0 <= weight <= 1:
                raise ValueError(f"policy {policy}: {weight} is not a quality weight from 0 to 1")
        if "auto" in names:
            raise ValueError("no candidate may be called 'auto'")
        return self


def load_config(path: Path) -> Settings:
    """Read and check a configuration file. Raises ConfigError with one line a fault, each naming its key."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a mapping is expected at the top, not {type(raw).__name__}")
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        lines = faults(error)
        raise ConfigError("\n  ".join([f"{path}: {len(lines)} fault(s)", *lines])) from None


def _unique(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what}: {', '.join(twice)} appears twice")
