"""The routes that need not be fast: models, usage, health, metrics."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.api.auth import caller
from gateway.api.services import ApiServices
from gateway.api.usage import since_of
from gateway.errors import NotFoundError, RequestError, StoreError
from gateway.pipeline.refusals import starting, store_unavailable
from gateway.telemetry.metrics import CONTENT_TYPE
from gateway.tenants.tenant import Tenant

CREATED = 1_767_225_600
"""`created` of every entry of GET /v1/models: the field is required, and candidates have no creation date here."""


def mount(app: FastAPI, services: ApiServices) -> None:
    """Add the routes of this file to the application, and the format of all its errors."""
    StatusRoutes(services).mount(app)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(StoreError, _store_error)


class StatusRoutes:
    """The routes for models, usage, health and metrics."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services

    def mount(self, app: FastAPI) -> None:
        app.add_api_route("/v1/models", self.models, methods=["GET"])
        app.add_api_route("/v1/models/{name:path}", self.model, methods=["GET"])
        app.add_api_route("/v1/usage", self.usage, methods=["GET"])
        app.add_api_route("/healthz", self.healthz, methods=["GET"])
        app.add_api_route("/readyz", self.readyz, methods=["GET"])
        app.add_api_route("/metrics", self.metrics, methods=["GET"])

    async def models(self, request: Request) -> dict[str, Any]:
        """Return the tenant's candidates, and the names that route among them."""
        tenant = caller(request, self._services.tenants)
        return {"object": "list", "data": [_model(name, kind) for name, kind in self._names(tenant).items()]}

    async def model(self, request: Request, name: str) -> dict[str, Any]:
        kind = self._names(caller(request, self._services.tenants)).get(name)
        if kind is None:
            what = f"The model {name[:80]!r} does not exist or you do not have access to it"
            raise NotFoundError(what, param="model", code="model_not_found")
        return _model(name, kind)

    async def usage(self, request: Request) -> dict[str, Any]:
        """Return the balances of the tenant's budgets, their paces, and the spend per candidate (`?since=`). Amounts in
        USD.
        """
        tenant = caller(request, self._services.tenants)
        if self._services.reports is None:
            raise starting()
        found = await self._services.reports.of_tenant(tenant, since_of(request.query_params.get("since")))
        return {"object": "usage", "tenant": tenant.name, "key": tenant.key, **found}

    async def healthz(self) -> dict[str, str]:
        return {"status": "ok"}

    async def readyz(self, request: Request) -> Response:
        """Return whether requests can be served, which requires that the store answers.

        With `?verbose`, also the candidates that rest, each with its provider's words and the seconds that are left.
        """
        if self._services.reports is None:
            return JSONResponse({"status": "starting"}, 503)
        try:
            await self._services.reports.store.balances([])
        except Exception as error:  # whatever is wrong with the store, the answer is the same
            return JSONResponse({"status": "store unavailable", "reason": type(error).__name__}, 503)
        if "verbose" not in request.query_params:
            return JSONResponse({"status": "ready"})
        resting = {
            name: {
                "fault": rest.fault,
                "why": rest.why if rest.fault == "account" else None,  # others may repeat what a client sent
                "left_s": round(rest.left_s, 1),
            }
            for name, rest in self._services.resting().items()
        }
        return JSONResponse({"status": "ready", "resting": resting})

    async def metrics(self) -> Response:
        return Response(await self._services.scrape(), media_type=CONTENT_TYPE)

    def _names(self, tenant: Tenant) -> dict[str, str]:
        return {
            "auto": "loupe",
            **dict.fromkeys(self._services.policies, "loupe"),
            **dict.fromkeys(tenant.candidates, "candidate"),
        }


def _model(name: str, kind: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": kind}


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
    shown = RequestError(str(error.detail), status=error.status_code, code=code).shown()
    return JSONResponse(shown, error.status_code, headers=dict(error.headers or {}))


async def _store_error(request: Request, _: Exception) -> Response:
    return await _request_error(request, store_unavailable())


async def _request_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse(error.shown(), error.status, headers=dict(error.headers))
