"""The schema of what tenants and keys may spend and use, as people write it: in the configuration, to /admin, in
commands.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from gateway.billing.money import NANODOLLARS, from_usd
from gateway.billing.window import Budget, Period, Unit
from gateway.errors import InvalidRequest
from gateway.tenants.policy import ExplorationSettings, TenantPacingSettings
from gateway.tenants.registry import ApiKey, TenantSettings

Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$")]
TenantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Usd = Annotated[float, Field(ge=0, le=1_000_000)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BudgetConfig(Section):
    """One budget window: `usd`, `requests` or `tokens` over a period."""

    usd: Usd | None = None
    requests: int | None = Field(None, ge=0, le=10**12)
    tokens: int | None = Field(None, ge=0, le=10**15)
    period: Period = "total"
    rolling: bool = False
    soft: bool = False
    zone: str = "UTC"

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if sum(limit is not None for limit in (self.usd, self.requests, self.tokens)) != 1:
            raise ValueError("a budget takes one of `usd`, `requests` and `tokens`")
        if self.rolling and self.period == "total":
            raise ValueError("a total cannot roll: it has no length")
        try:
            ZoneInfo(self.zone)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            raise ValueError(f"zone {self.zone!r} is not a known IANA time zone") from None
        return self

    def budget(self) -> Budget:
        """Return the budget, with its limit in its unit: nanodollars for `usd`."""
        unit: Unit = "usd" if self.usd is not None else "requests" if self.requests is not None else "tokens"
        limit = from_usd(f"{self.usd:.9f}") if self.usd is not None else self.requests or self.tokens or 0
        return Budget(limit, self.period, unit, self.rolling, self.soft, self.zone)


class KeyConfig(Section):
    """The terms of one key."""

    name: Name | None = None
    """The key's name, also in its own windows."""
    expires: datetime | None = None
    budgets: tuple[BudgetConfig, ...] = ()
    """Budgets of this key alone, in addition to its tenant's."""
    candidates: tuple[str, ...] | None = Field(None, min_length=1)
    """A subset of the tenant's candidates."""

    @field_validator("expires")
    @classmethod
    def _in_utc(cls, expires: datetime | None) -> datetime | None:
        """Read a time without a zone as UTC, wherever the server is."""
        return expires.replace(tzinfo=UTC) if expires is not None and expires.tzinfo is None else expires

    def expires_at(self) -> float | None:
        """Return the expiry in seconds since the epoch, or None."""
        return None if self.expires is None else self.expires.timestamp()


class PacingConfig(Section):
    """The pacing of spend in hard USD windows of an hour or longer."""

    plan: Literal["learned", "even"] = "learned"
    """Plan by the learned hour-of-week shape of the tenant's traffic, or evenly over time."""
    burst: float = Field(0.05, ge=0, le=1)
    """Spend may run ahead of the plan by this share of the limit."""

    def terms(self) -> TenantPacingSettings:
        return TenantPacingSettings(self.plan, self.burst)


class ExplorationConfig(Section):
    """The terms of exploration: how often another candidate than the best serves, and at what cost."""

    rate: float = Field(0.05, ge=0, le=1)
    gamma: float = Field(50.0, ge=0, le=1_000_000)
    slack: float = Field(0.1, ge=0, le=1)
    optimism: float = Field(0.0, ge=0, le=100)
    budget_share: float = Field(0.02, ge=0, le=1)

    def settings(self) -> ExplorationSettings:
        return ExplorationSettings(self.rate, self.gamma, self.slack, self.optimism, self.budget_share)


def _switch(told: Any) -> Any:
    """Return an empty section for `on`, None for `off`, and anything else unchanged."""
    if told in (True, "on"):
        return {}
    return None if told in (False, "off") else told


class TenantConfig(Section):
    """The terms of one tenant."""

    name: TenantName
    budget: BudgetConfig | None = None
    """A short form of `budgets` with a single entry."""
    budgets: tuple[BudgetConfig, ...] = ()
    candidates: tuple[str, ...] | None = Field(None, min_length=1)
    """The allow-list, and the order when routing declines; the catalog's order if not set."""
    quality_weight: float = Field(0.8, ge=0, le=1)
    on_infeasible: Literal["refuse", "cheapest"] = "refuse"
    pacing: Annotated[PacingConfig | None, BeforeValidator(_switch)] = PacingConfig()
    """`off`: budgets are enforced, but spend is not paced."""
    exploration: Annotated[ExplorationConfig | None, BeforeValidator(_switch)] = None

    def terms(self, created_at: float = 0.0) -> TenantSettings:
        budgets = (*((self.budget,) if self.budget else ()), *self.budgets)
        return TenantSettings(
            self.name,
            tuple(budget.budget() for budget in budgets),
            self.candidates,
            self.quality_weight,
            self.on_infeasible,
            created_at,
            self.pacing.terms() if self.pacing else None,
            self.exploration.settings() if self.exploration else None,
        )


def budget_as_written(budget: Budget) -> dict[str, Any]:
    """Return a budget as `BudgetConfig` reads it."""
    limit = budget.limit / NANODOLLARS if budget.unit == "usd" else budget.limit
    return {
        budget.unit: limit,
        "period": budget.period,
        "rolling": budget.rolling,
        "soft": budget.soft,
        "zone": budget.zone,
    }


def tenant_as_written(terms: TenantSettings) -> dict[str, Any]:
    """Return a tenant as `TenantConfig` reads it, and its creation time."""
    return {
        "name": terms.name,
        "budgets": [budget_as_written(budget) for budget in terms.budgets],
        "candidates": None if terms.candidates is None else list(terms.candidates),
        "quality_weight": terms.quality_weight,
        "on_infeasible": terms.on_infeasible,
        "pacing": False if terms.pacing is None else asdict(terms.pacing),
        "exploration": False if terms.exploration is None else asdict(terms.exploration),
        "created_at": _time(terms.created_at),
    }


def key_as_written(key: ApiKey, now: float) -> dict[str, Any]:
    """Return all that is known about a key, without the key itself and its hash."""
    state = "revoked" if key.revoked_at is not None else "active" if key.stands(now) else "expired"
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "state": state,
        "expires": _time(key.expires_at),
        "budgets": [budget_as_written(budget) for budget in key.budgets],
        "candidates": None if key.candidates is None else list(key.candidates),
        "provisioned": key.is_provisioned,
        "from": {"yaml": "configuration", "made": "command"}[key.origin],
        "created_at": _time(key.created_at),
        "revoked_at": _time(key.revoked_at),
        "last_used_at": _time(key.last_used_at),
    }


def faults(error: ValidationError, whole: str = "file") -> list[str]:
    """Return one line per fault, with the key at fault (or `whole`) and its value.

    A list is not called too short when its items are at fault.
    """
    found = error.errors(include_url=False)
    around = {fault["loc"][:end] for fault in found for end in range(1, len(fault["loc"]))}
    return [_fault(fault, whole) for fault in found if fault["type"] != "too_short" or fault["loc"] not in around]


def invalid(error: ValidationError) -> InvalidRequest:
    """Return the refusal for the sender: every fault with its member and value; `param` is the first fault's member."""
    first = error.errors(include_url=False)[0]
    return InvalidRequest("; ".join(faults(error, "body")), param=_where(first) or None, code="invalid_value")


def _where(fault: ErrorDetails) -> str:
    return re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, fault["loc"])))


def _fault(fault: ErrorDetails, whole: str) -> str:
    location, value = fault["loc"], fault["input"]
    text = f"{_where(fault) or whole}: {fault['msg'].removeprefix('Value error, ')}"
    may_be_secret = fault["type"] == "extra_forbidden" or {"headers", "keys"} & set(location)
    if may_be_secret or not isinstance(value, str | int | float):
        return text
    if isinstance(value, str):  # the user name and password of a URL
        value = re.sub(r"//\S*@", "//***@", value)
    return f"{text}, got {value!r:.80}"


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
