"""From a key to its tenant."""

from __future__ import annotations

import time
from collections.abc import Mapping

from starlette.requests import Request

from gateway.errors import AuthenticationError
from gateway.pipeline.refusals import starting
from gateway.tenants.tenant import Tenant, Tenants


def authenticate(headers: Mapping[bytes, bytes], tenants: Tenants) -> Tenant:
    """The tenant of `Authorization: Bearer KEY`. Raises AuthenticationError; the key itself is never shown."""
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not key.strip():
        raise AuthenticationError("no API key: send it as 'Authorization: Bearer KEY'")
    tenant = tenants.find(key.strip())
    if tenant is None:
        raise AuthenticationError("the API key is not known")
    if tenant.expires_at is not None and time.time() >= tenant.expires_at:
        raise AuthenticationError("the API key has expired", code="expired_api_key")
    return tenant


def caller(request: Request, tenants: Tenants | None) -> Tenant:
    """`authenticate` for a route of FastAPI's. Raises 503 while there are no `tenants` yet: the service starts."""
    if tenants is None:
        raise starting()
    return authenticate(dict(request.scope["headers"]), tenants)
