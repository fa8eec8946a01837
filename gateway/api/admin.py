"""`/admin/*`, behind a separate key: tenants, keys, every tenant's usage, and reloading the configuration."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel, Field, ValidationError

from gateway.api.asgi import no_json, small_body
from gateway.api.services import AdminState, ApiServices
from gateway.api.usage import PacePlace, exploration_row, since_of
from gateway.billing.window import window_at
from gateway.errors import AuthenticationError, ConfigError, InvalidRequest, RequestError, StoreError
from gateway.pipeline.refusals import starting
from gateway.tenants.management import NewKey, TenantManagement
from gateway.tenants.registry import ApiKey, TenantRegistry, TenantSettings
from gateway.tenants.schema import (
    KeyConfig,
    Section,
    TenantConfig,
    TenantName,
    invalid,
    key_as_written,
    tenant_as_written,
)
from gateway.tenants.tenant import key_owner

LARGEST_BODY = 1024 * 1024
Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")


class NewKeyConfig(KeyConfig):
    tenant: TenantName


class RotateBody(Section):
    grace_s: float = Field(0, ge=0, le=31_536_000)
    """Seconds for which the old key stays valid."""


def mount(app: FastAPI, services: ApiServices) -> None:
    """Add the routes of this file to the application."""
    AdminRoutes(services).mount(app)


class AdminRoutes:
    """The administration of tenants and keys, open to holders of the admin key; closed if no admin key is set."""

    def __init__(self, services: ApiServices) -> None:
        expected = (services.admin_key or "").strip().encode()
        self._hashed = hashlib.sha256(expected).digest() if expected else None
        self._variable = services.admin_key_variable
        self._services = services

    def mount(self, app: FastAPI) -> None:
        routes = APIRouter(prefix="/admin", dependencies=[Depends(self._admit)])
        for method, path, answer in (
            ("GET", "/tenants", self.tenants),
            ("POST", "/tenants", self.create_tenant),
            ("GET", "/tenants/{name}", self.tenant),
            ("PATCH", "/tenants/{name}", self.update_tenant),
            ("DELETE", "/tenants/{name}", self.delete_tenant),
            ("GET", "/keys", self.keys),
            ("POST", "/keys", self.create_key),
            ("GET", "/keys/{key_id}", self.key),
            ("PATCH", "/keys/{key_id}", self.update_key),
            ("DELETE", "/keys/{key_id}", self.revoke_key),
            ("POST", "/keys/{key_id}/rotate", self.rotate_key),
            ("DELETE", "/content/{tenant}", self.delete_content),
            ("GET", "/usage", self.usage),
            ("POST", "/reload", self.reload),
        ):
            status = 201 if method == "POST" and path in ("/tenants", "/keys") else 200
            routes.add_api_route(path, answer, methods=[method], status_code=status)
        app.include_router(routes)

    async def tenants(self) -> dict[str, Any]:
        registry = await self._registry()
        return _list([_tenant(terms, registry) for terms in registry.tenants.values()])

    async def tenant(self, name: str) -> dict[str, Any]:
        registry = await self._registry()
        return _tenant(registry.tenant(name), registry)

    async def create_tenant(self, request: Request) -> dict[str, Any]:
        body = await _read(request, TenantConfig)
        return _tenant(await self._change(lambda management: management.create_tenant(body)))

    async def update_tenant(self, request: Request, name: str) -> dict[str, Any]:
        """Change the members that the body names, and keep the rest."""
        changes = await _read_members(request)
        return _tenant(await self._change(lambda management: management.update_tenant(name, changes)))

    async def delete_tenant(self, name: str) -> dict[str, Any]:
        await self._change(lambda management: management.delete_tenant(name))
        return {"object": "tenant.deleted", "name": name, "deleted": True}

    async def keys(self, tenant: str | None = None) -> dict[str, Any]:
        registry, now = await self._registry(), time.time()
        if tenant is not None:
            registry.tenant(tenant)
        return _list([_key(key, now) for key in registry.keys.values() if tenant in (None, key.tenant)])

    async def key(self, key_id: str) -> dict[str, Any]:
        return _key((await self._registry()).key(key_id), time.time())

    async def create_key(self, request: Request, response: Response) -> dict[str, Any]:
        """Create a key. Only this answer contains the key itself."""
        response.headers["cache-control"] = "no-store"
        body = await _read(request, NewKeyConfig)
        return _new_key(await self._change(lambda management: management.create_key(body.tenant, body)))

    async def update_key(self, request: Request, key_id: str) -> dict[str, Any]:
        body = await _read(request, KeyConfig)
        return _key(await self._change(lambda management: management.update_key(key_id, body)), time.time())

    async def revoke_key(self, key_id: str) -> dict[str, Any]:
        return _key(await self._change(lambda management: management.revoke_key(key_id)), time.time())

    async def rotate_key(self, request: Request, response: Response, key_id: str) -> dict[str, Any]:
        """Replace a key. Only this answer contains the new key itself."""
        response.headers["cache-control"] = "no-store"
        body = await _read(request, RotateBody)
        return _new_key(await self._change(lambda management: management.rotate_key(key_id, body.grace_s)))

    async def delete_content(self, tenant: str) -> dict[str, Any]:
        """Delete the kept questions, images, replies and comments of a tenant. The tenant itself need not exist any
        more.
        """
        rows = await asyncio.to_thread(self._ready().delete_content, tenant)
        return {"object": "content.deleted", "tenant": tenant, "rows": rows}

    async def usage(self, tenant: str | None = None, since: str | None = None) -> dict[str, Any]:
        """Return the balances of all budgets, of tenants and their keys, and the spend per
        candidate. Amounts in USD.
        """
        reports = self._ready().reports
        registry, now = await self._registry(), reports.clock()
        chosen = [registry.tenant(tenant)] if tenant is not None else list(registry.tenants.values())
        rows: list[dict[str, Any]] = []
        places: list[PacePlace] = []
        spend = await reports.by_candidate(since_of(since), tenant)
        for terms in chosen:
            row: dict[str, Any] = {"tenant": terms.name, "windows": [], "keys": []}
            row["candidates"] = spend.get(terms.name, [])
            rows.append(row)
            own = [PacePlace(row["windows"], budget, window_at(terms.name, budget, now)) for budget in terms.budgets]
            places += own
            if terms.exploration is not None:
                row["exploration"], beside = exploration_row(terms.exploration, own)
                places += beside
            standing = (key for key in registry.keys_of(terms.name) if key.stands(now))
            for key in {key.name: key for key in standing}.values():  # a rotated key shares the windows of the new key
                shown: dict[str, Any] = {"id": key.id, "name": key.name, "windows": []}
                row["keys"].append(shown)
                owner = key_owner(terms.name, key.name)
                places += [PacePlace(shown["windows"], budget, window_at(owner, budget, now)) for budget in key.budgets]
        await reports.fill(places, reports.known_paces())
        return _list(rows)

    async def reload(self) -> dict[str, Any]:
        """Read the configuration again. If it is refused: 400 with the reason, and nothing has changed."""
        try:
            done = await self._ready().reload()
        except ConfigError as error:
            what = f"reload refused, nothing was changed: {error}"
            raise InvalidRequest(what, code="reload_refused") from None
        return {"object": "reload", "changed": list(done.changed), "tenants": asdict(done.readings)}

    async def _admit(self, request: Request) -> None:
        if self._hashed is None:
            what = f"/admin is closed: set {self._variable} (server.admin_key_env) and start the gateway again"
            raise RequestError(what, status=403, code="admin_closed")
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(key.strip().encode("latin-1")).digest()  # the bytes as sent
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._hashed):
            raise AuthenticationError("this is not the admin key", code="invalid_admin_key")

    def _ready(self) -> AdminState:
        if self._services.admin is None:
            raise starting()
        return self._services.admin

    async def _registry(self) -> TenantRegistry:
        return await asyncio.to_thread(self._ready().management.registry)

    async def _change(self, change: Callable[[TenantManagement], Result]) -> Result:
        """Change the store, and make the change visible in this process before answering."""
        state = self._ready()

        def changed() -> Result:
            result = change(state.management)
            with suppress(StoreError):  # the change is stored and a new key must be shown; the watch will refresh later
                state.refresh()
            return result

        return await asyncio.to_thread(changed)


async def _read(request: Request, body: type[Body]) -> Body:
    """Read and check the body. Raises InvalidRequest, naming the member at fault and its value."""
    try:
        return body.model_validate(await _read_members(request))
    except ValidationError as error:
        raise invalid(error) from None


async def _read_members(request: Request) -> dict[str, Any]:
    raw = await small_body(request, LARGEST_BODY)
    try:
        members = json.loads(raw or b"{}", object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise no_json(error) from None
    if not isinstance(members, dict):
        raise InvalidRequest(f"the body must be an object, not {type(members).__name__}")
    return members


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"the member {twice[:80]!r} appears twice", param=twice[:80])
    return found


def _list(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": rows}


def _tenant(terms: TenantSettings, registry: TenantRegistry | None = None) -> dict[str, Any]:
    """Return a tenant as JSON shows it. Without a registry, a command has just made or changed the tenant."""
    shown = {"object": "tenant", **tenant_as_written(terms)}
    shown["provisioned"] = registry is not None and terms.name in registry.provisioned
    if registry is not None:
        shown["keys"] = [key.id for key in registry.keys_of(terms.name) if key.revoked_at is None]
    return shown


def _key(key: ApiKey, now: float) -> dict[str, Any]:
    return {"object": "key", **key_as_written(key, now)}


def _new_key(made: NewKey) -> dict[str, Any]:
    return {**_key(made.record, made.record.created_at), "key": made.secret}
