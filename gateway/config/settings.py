"""The configuration: one YAML file, read once; unknown keys are errors, and so are keys given twice. Secrets are given
by environment variable names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)

from gateway import providers, stores
from gateway.billing.money import NANODOLLARS
from gateway.config.secrets import hash_key, secret_from
from gateway.config.strict_yaml import read_yaml
from gateway.errors import ConfigError
from gateway.providers.http_pool import unsent_part
from gateway.routing.capabilities import CAPABILITIES
from gateway.stores.base import StoreAddress
from gateway.tenants.schema import KeyConfig, Name, Section, TenantConfig, Usd, faults

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _kind_of(what: str, kinds: Mapping[str, object], name: str) -> str:
    """Return the name if it is one of these kinds. Raises ValueError."""
    if name not in kinds:
        raise ValueError(f"unknown {what} {name!r}; known: {', '.join(kinds)}")
    return name


def _local_for_lease(name: Any) -> Any:
    """Return `local` for its old name `lease` of `when_gone`, which is accepted for one version."""
    return "local" if name == "lease" else name


class ServerConfig(Section):
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    max_body_mb: float = Field(32, gt=0, le=512)
    shutdown_s: Seconds = 30
    admin_key_env: str = Field("LOUPE_ADMIN_KEY", min_length=1)
    """The variable that holds the key to /admin; without the key, /admin is closed."""
    key_secret_env: str = Field("LOUPE_KEY_SECRET", min_length=1)
    """The variable that holds the secret for hashing keys; without it, the store keeps a secret."""
    workers: int = Field(1, ge=1, le=256)
    """Processes that share the port and the store."""


class StoreConfig(Section):
    kind: Annotated[str, AfterValidator(partial(_kind_of, "store kind", stores.KINDS))] = "sqlite"
    """The store of the budgets. Decisions are kept in SQLite in any case."""
    path: Path = Path("loupe.sqlite")
    """Decisions are kept in the same folder, in `loupe-decisions.sqlite`, and content in `loupe-content.sqlite`."""
    reservation_ttl_s: float = Field(60, ge=1, le=3_600, validation_alias=AliasChoices("reservation_ttl_s", "lease_s"))
    """Seconds that a reservation lives if its process does not renew it; then it is charged in full. The old name
    `lease_s` is accepted for one version.
    """
    redis_url_env: str = "LOUPE_REDIS_URL"
    redis_limit_ms: float = Field(50, gt=0, le=10_000)
    when_gone: Annotated[Literal["closed", "local"], BeforeValidator(_local_for_lease)] = "closed"
    """Without Redis: refuse (503), or continue within an allowance that was set aside before."""
    local_allowance_usd: float = Field(
        0.10, gt=0, le=1_000, validation_alias=AliasChoices("local_allowance_usd", "local_lease_usd")
    )
    """With `local`: the part of each tenant's budget that each process sets aside, in USD. The old name
    `local_lease_usd` is accepted for one version.
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
        """The address of the store, for `gateway.stores.KINDS`."""
        allowance = None if self.when_gone == "closed" else round(self.local_allowance_usd * NANODOLLARS)
        url = partial(secret_from, self.redis_url_env)
        return StoreAddress(self.path, url, self.redis_url_env, self.redis_limit_ms / 1e3, allowance)


class LogConfig(Section):
    path: Path | None = None
    """The file for request lines; standard output when it is not set."""


class DecisionConfig(Section):
    keep: bool = True
    """Keep every decision, in the store's folder: `loupe table export` and feedback need decisions."""
    days: float | None = Field(None, gt=0, le=3_650)
    """Decisions that are older, and their labels, are removed; null: never."""


class ContentConfig(Section):
    keep: bool = False
    """Keep questions, images and replies, too: `loupe grade` needs them."""
    days: float = Field(30, gt=0, le=3_650)
    """Content that was last seen more days ago than this is removed."""


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
    """`default` is the bundled router; anything else is the path that `loupe train --out` wrote."""
    artifacts: Path | None = None
    """The folder in which `loupe promote` keeps versions: the promoted version serves, and `artifact` while there is
    none.
    """
    timeout_ms: float = Field(200, gt=0)


class ProviderConfig(Section):
    kind: Annotated[str, AfterValidator(partial(_kind_of, "provider kind", providers.KINDS))] = "openai"
    """A name in `gateway.providers.KINDS`."""
    base_url: str = Field(pattern=r"^https?://")
    api_key_env: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    connect_s: Seconds = 5
    first_byte_s: Seconds = 60
    idle_s: Seconds = 60
    total_s: Seconds = 600
    proxy: str | None = None
    """The URL of an HTTP proxy, or `none`; without it HTTPS_PROXY, HTTP_PROXY and NO_PROXY decide."""
    max_connections: int = Field(512, ge=1)
    stream_options: bool = True
    """Ask for usage on streams; False for a provider that refuses the member. Then our own count is charged."""
    limit_parameter: Literal["max_tokens", "max_completion_tokens", "none"] | None = None
    """The default of its candidates."""

    @field_validator("base_url")
    @classmethod
    def _is_sent_whole(cls, url: str) -> str:
        """Refuse the parts of a URL that would not be sent."""
        if refused := unsent_part(url):
            raise ValueError(refused)
        return url


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
    """`provider/model` of the bundled price list, if it differs from the provider's address and `provider_model`."""
    image_tokens: str = "openai_tiles"
    """The family whose formula counts the candidate's image tokens (`gateway/billing/image_tokens.py`), or `flat:N`."""
    tokenizer: str | None = None
    """The family of the candidate's tokenizer (`gateway/billing/text_tokens.py`); if not set, by its `image_tokens`."""
    context_tokens: int = Field(128_000, ge=1)
    max_output_tokens: int = Field(4_096, ge=1)
    sees_images: bool = True
    """The same as `capabilities: {images: ...}`."""
    calls_tools: bool = True
    """The same as `capabilities: {tools: ...}`."""
    capabilities: dict[str, StrictBool] = Field(default_factory=dict)
    """What the candidate can do, where it differs from what is known of its model and of its provider's address: names
    of `gateway/routing/capabilities.py`.
    """
    pdf_tokens_per_page: int | None = Field(None, ge=1, le=1_000_000)
    """The most tokens of a usual page of a PDF; if not set, 3,000 and those of a picture of the page."""
    audio_tokens_per_second: int = Field(32, ge=1, le=10_000)
    """The most tokens of a second of sound, billed at the candidate's input price: 32 at Gemini, 10 at OpenAI."""
    caches_by_itself: bool | None = None
    """True if its provider writes to its prompt cache unasked. If not set: where writing costs more than other input,
    but not for Claude, which writes only what `cache_control` names.
    """
    reasons: bool = False
    reasoning_tokens: int = Field(0, ge=0, le=1_000_000)
    """The mean tokens of reasoning before a reply, in addition to the forecast."""
    limit_parameter: Literal["max_tokens", "max_completion_tokens", "none"] | None = None
    """If not set: the provider's; if that is not set: `max_completion_tokens` for a candidate that `reasons` and for
    OpenAI's models that do, else `max_tokens`. With `none` no limit is sent, and a reply is reserved at
    `max_output_tokens`.
    """

    @model_validator(mode="after")
    def _prices_fit_together(self) -> Self:
        if (self.input_usd_per_mtok is None) != (self.output_usd_per_mtok is None):
            raise ValueError("input_usd_per_mtok and output_usd_per_mtok are set together or left out together")
        if self.price_as is not None and self.input_usd_per_mtok is not None:
            raise ValueError("price_as has no effect beside input_usd_per_mtok and output_usd_per_mtok")
        if self.reasoning_tokens and not self.reasons:
            raise ValueError("reasoning_tokens are of a candidate that `reasons`")
        return self

    @model_validator(mode="after")
    def _capabilities_are_known(self) -> Self:
        for name in self.capabilities:
            _kind_of("capability", dict.fromkeys(CAPABILITIES), name)
        for old, name in (("sees_images", "images"), ("calls_tools", "tools")):
            if old in self.model_fields_set and name in self.capabilities:
                raise ValueError(f"{old} is the same as capabilities: {name}: say one of them")
        return self


class ProvisionedKeyConfig(KeyConfig):
    """A key of the configuration. Without a name, the first digits of its hash are its name."""

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
        """Return the hex sha256 of the key. Raises ConfigError when the variable is not set."""
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
    """Has no effect any more, because the file owns what the file names; accepted for one more version."""

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
    """Read and check a configuration file. Raises ConfigError with one line per fault, each naming its key."""
    raw = read_yaml(path)
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
