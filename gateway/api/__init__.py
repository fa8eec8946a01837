"""The inbound HTTP side of the gateway. Rule: FastAPI and Starlette are used only here; nothing here decides or spends.

To add an endpoint, write one file with `mount(app, services)` and add one line to `ROUTES`, or, if FastAPI is too slow
for it, one line to `RAW_ROUTES`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI

from gateway.api import admin, decisions, status
from gateway.api.asgi import Receive, Send
from gateway.api.chat import ChatRoutes
from gateway.api.services import ApiServices

ROUTES: list[Callable[[FastAPI, ApiServices], None]] = [status.mount, decisions.mount, admin.mount]
"""The functions that add routes to the application that FastAPI serves."""

RawRoute = Callable[[ChatRoutes, dict[str, Any], Receive, Send], Awaitable[None]]
RAW_ROUTES: dict[str, RawRoute] = {"/v1/chat/completions": ChatRoutes.completions, "/v1/route": ChatRoutes.route}
"""POST routes without FastAPI, by path: the requests that must be fast."""


def application(services: ApiServices) -> FastAPI:
    """Return an application with all of `ROUTES`."""
    app = FastAPI(title="Loupe")
    for mount in ROUTES:
        mount(app, services)
    return app
