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

from typing import Literal

Fault = Literal[
    "context_length",
    "content_filter",
    "unsupported",
    "too_large",
    "invalid",
    "account",
    "rate_limit",
    "overloaded",
]
"""What a provider's refusal blames.

The first five blame the request as this candidate sees it: the prompt is too long for it, its filter stopped the
content, it does not know a parameter or a value, the request is too large for its limits, or something else is invalid.
Another candidate may serve such a request. `account` is the operator's: a wrong key, no credit, no such model.
`rate_limit` and `overloaded` pass with time.
"""
REQUEST_FAULTS: frozenset[str | None] = frozenset(
    {"context_length", "content_filter", "unsupported", "too_large", "invalid"}
)


class LoupeError(Exception):
    """The root of the errors that end at the edge: catch it there, nowhere else."""


class ConfigError(LoupeError):
    """The configuration or an artifact cannot be used; the message says which key and why."""


class RequestError(LoupeError):
    """A refusal for the client: status, OpenAI `type` and `code`, and the parameter at fault.

    `kind` replaces the class's `type`. `retry_after_s` is the time until the request may succeed, if it is known.
    """

    status = 400
    type = "invalid_request_error"
    code: str | None = None
    retry_after_s: float | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        kind: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = headers
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        if kind is not None:
            self.type = kind
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s

    def shown(self) -> dict[str, object]:
        """Return the body of the refusal, in OpenAI's format."""
        error: dict[str, object] = {
            "message": self.message,
            "type": self.type,
            "code": self.code,
            "param": self.param,
        }
        if self.retry_after_s is not None:
            error["retry_after_s"] = round(self.retry_after_s, 3)
        return {"error": error}


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
    """A failed attempt at one candidate.

    Attributes:
        reason: a short label for metrics and headers.
        status: the provider's HTTP status, if it answered.
        body: the start of the provider's answer.
        fault: what the answer blames, if the provider gave one: see `Fault`.
        said: the provider's own words, without secrets; empty if it gave none.
        code, param: the provider's own, if they are short and printable.
        retry_after_s: seconds after which the provider asks to be tried again.
        reached: True for a failure after the request was sent, without a refusal: the provider may have worked on the
            request, and bill it.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        status: int | None = None,
        body: bytes = b"",
        fault: Fault | None = None,
        said: str = "",
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        reached: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.body = body
        self.fault = fault
        self.said = said
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.reached = reached

    def hide(self, secrets: tuple[str, ...]) -> None:
        """Replace these texts by `[key]` in all words that may be repeated."""
        for secret in secrets:
            self.args = tuple(str(each).replace(secret, "[key]") for each in self.args)
            self.said = self.said.replace(secret, "[key]")
            self.code = self.code and self.code.replace(secret, "[key]")
            self.param = self.param and self.param.replace(secret, "[key]")

    @property
    def is_abandoned(self) -> bool:
        """True if the provider was still at work when the time was up: it may bill what nobody waited for."""
        return self.reached and self.reason in ("first_byte_timeout", "total_timeout")

    @property
    def blames_request(self) -> bool:
        """True if the provider refused this request, and may serve others."""
        return self.fault in REQUEST_FAULTS


class StoreError(Exception):
    """The store could not do what was asked (disk full, locked for too long)."""
