"""Authentication: from an API key to its tenant."""

from __future__ import annotations

import time
from collections.abc import Mapping

from starlette.requests import Request

from gateway.errors import AuthenticationError
from gateway.pipeline.refusals import starting
from gateway.tenants.tenant import Tenant, Tenants


def authenticate(headers: Mapping[bytes, bytes], tenants: Tenants) -> Tenant:
    """Return the tenant of `Authorization: Bearer KEY`. Raises AuthenticationError; its message never shows the key."""
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
    """Run `authenticate` for a FastAPI route. Raises 503 while `tenants` is None, because the service is starting."""
    if tenants is None:
        raise starting()
    return authenticate(dict(request.scope["headers"]), tenants)
