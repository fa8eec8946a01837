"""The errors that Loupe raises on purpose.

LoupeError
+-- ConfigError             the configuration file or an artifact is wrong; the service does not start
+-- RequestError            an answer to the client, in OpenAI's format
|   +-- InvalidRequest      400  the request is wrong; says where, with which value
|   +-- ImageError          400/413/415
|   +-- AuthenticationError 401
|   +-- BudgetInfeasible    402  nothing fits the cap; names the cheapest feasible price
|   +-- NotFoundError       404
|   +-- BodyTooLarge        413
|   +-- QuotaError          429  the tenant's budget window is spent or held
|   +-- ProviderFailure     502  every choice failed before its first byte
+-- ProviderError           one attempt at one candidate failed; the next choice may serve
"""

from __future__ import annotations


class LoupeError(Exception):
    """The root of the errors that end at the edge: catch it there, nowhere else."""


class ConfigError(LoupeError):
    """The configuration or an artifact cannot be used; the message says which key and why."""


class RequestError(LoupeError):
    """A refusal for the client: status, OpenAI `type` and `code`, and the parameter at fault."""

    status = 400
    type = "invalid_request_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = headers
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status


class InvalidRequest(RequestError):
    """400: the request does not follow the API's contract."""


class ImageError(RequestError):
    """400, 413 or 415: an image cannot be fetched or read, is too large, or is of a type that is not accepted."""

    code = "invalid_image"


class AuthenticationError(RequestError):
    """401: the API key is missing or not known."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class BudgetInfeasible(RequestError):
    """402: no candidate fits the request's cap."""

    status = 402
    type = "budget_error"
    code = "budget_infeasible"


class NotFoundError(RequestError):
    """404: no such model, route or record."""

    status = 404
    code = "not_found"


class BodyTooLarge(RequestError):
    """413: the body is over the limit."""

    status = 413
    code = "body_too_large"


class QuotaError(RequestError):
    """429: the tenant's budget is spent, or held by requests in flight."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"


class ProviderFailure(RequestError):
    """502: every choice failed before its first byte."""

    status = 502
    type = "provider_error"
    code = "provider_failed"


class ProviderError(LoupeError):
    """A failed attempt. `reason` is a short label for metrics; `status` is the provider's, if it sent one.

    `permanent` marks an answer that another candidate would not change (the request itself is at fault). `reached`
    marks a failure after the request was sent, without a refusal: the provider may have worked on the request, and bill
    it.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        status: int | None = None,
        body: bytes = b"",
        permanent: bool = False,
        reached: bool = False,
    ) -> None:
        super().__init__(message)
        self.reached = reached
        self.reason = reason
        self.status = status
        self.body = body
        self.permanent = permanent


class StoreError(Exception):
    """The store could not do what was asked (disk full, locked for too long)."""
