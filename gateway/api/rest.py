"""Everything that need not be fast: models, usage, health, metrics."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.api.auth import authenticate
from gateway.api.windows import window_row
from gateway.core.tenant import Tenant, Tenants
from gateway.errors import NotFound, RequestError
from gateway.refusals import store_unavailable
from gateway.stores.base import BudgetStore, StoreError
from gateway.telemetry.metrics import CONTENT_TYPE

CREATED = 1_767_225_600
"""`created` of every entry of GET /v1/models: candidates have no birthday here, and the field is required."""


class RestRoutes:
    """Routes over state that the composition root fills in when the service starts. `scrape` gives `/metrics`."""

    def __init__(self, policies: Mapping[str, float], scrape: Callable[[], Awaitable[bytes]]) -> None:
        self.tenants: Tenants | None = None
        self.policies = policies
        """Of the configuration in service."""
        self._scrape = scrape
        self.store: BudgetStore | None = None

    def mount(self) -> FastAPI:
        app = FastAPI(title="Loupe")
        app.add_api_route("/v1/models", self.models, methods=["GET"])
        app.add_api_route("/v1/models/{name:path}", self.model, methods=["GET"])
        app.add_api_route("/v1/usage", self.usage, methods=["GET"])
        app.add_api_route("/healthz", self.healthz, methods=["GET"])
        app.add_api_route("/readyz", self.readyz, methods=["GET"])
        app.add_api_route("/metrics", self.metrics, methods=["GET"])
        app.add_exception_handler(HTTPException, _http_error)
        app.add_exception_handler(RequestError, _request_error)
        app.add_exception_handler(StoreError, _store_error)
        return app

    async def models(self, request: Request) -> dict[str, Any]:
        """The tenant's candidates, and the names that route among them."""
        tenant = self._tenant(request)
        return {"object": "list", "data": [_model(name, kind) for name, kind in self._names(tenant).items()]}

    async def model(self, request: Request, name: str) -> dict[str, Any]:
        kind = self._names(self._tenant(request)).get(name)
        if kind is None:
            what = f"The model {name[:80]!r} does not exist or you do not have access to it"
            raise NotFound(what, param="model", code="model_not_found")
        return _model(name, kind)

    async def usage(self, request: Request) -> dict[str, Any]:
        """Where the tenant's budget stands. Amounts in USD."""
        tenant = self._tenant(request)
        now = time.time()
        budgets = (*tenant.budgets, *tenant.key_budgets)
        balances = await self.store.balances(tenant.windows(now)) if self.store else []
        return {
            "object": "usage",
            "tenant": tenant.name,
            "key": tenant.key,
            "windows": [window_row(*pair) for pair in zip(budgets, balances, strict=True)],
        }

    async def healthz(self) -> dict[str, str]:
        return {"status": "ok"}

    async def readyz(self) -> Response:
        """Whether requests can be served: the store answers."""
        if self.store is None:
            return JSONResponse({"status": "starting"}, 503)
        try:
            await self.store.balances([])
        except Exception as error:  # whatever is wrong with the store, the answer is the same
            return JSONResponse({"status": "store unavailable", "reason": type(error).__name__}, 503)
        return JSONResponse({"status": "ready"})

    async def metrics(self) -> Response:
        return Response(await self._scrape(), media_type=CONTENT_TYPE)

    def _tenant(self, request: Request) -> Tenant:
        if self.tenants is None:
            raise RequestError("the gateway is starting", status=503, code="starting")
        return authenticate(dict(request.scope["headers"]), self.tenants)

    def _names(self, tenant: Tenant) -> dict[str, str]:
        return {
            "auto": "loupe",
            **dict.fromkeys(self.policies, "loupe"),
            **dict.fromkeys(tenant.candidates, "candidate"),
        }


def _model(name: str, kind: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": kind}


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
    return _shaped(error.status_code, str(error.detail), "invalid_request_error", code, None, error.headers)


async def _store_error(request: Request, _: Exception) -> Response:
    return await _request_error(request, store_unavailable())


async def _request_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _shaped(error.status, error.message, error.type, error.code, error.param, dict(error.headers))


def _shaped(
    status: int,
    message: str,
    kind: str,
    code: str | None,
    param: str | None,
    headers: Mapping[str, str] | None,
) -> Response:
    body = {"error": {"message": message, "type": kind, "code": code, "param": param}}
    return JSONResponse(body, status, headers=dict(headers or {}))
