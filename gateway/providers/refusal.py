"""The reading of a provider's refusal: what it blames, in whose words, and when to try again.

Providers that speak OpenAI's API agree on little here. Where the message stands, by their own documentation and by what
they answer: OpenAI, Azure, Groq and Anthropic `error.message`; Gemini the same within an array, with
`details[].reason` and `details[].retryDelay`; OpenRouter `error.metadata.raw`, which is the upstream's own answer as
text; vLLM `message` or `error.message`; Mistral `message` or `detail`; FastAPI `detail`, a text or a list of
`{loc, msg}`; Ollama `error` as a text. The status alone decides little: an expired key is a 400 at Gemini, an empty
account a 400 at Anthropic, a limit on tokens per minute a 413 at Groq.

Sources: https://platform.openai.com/docs/guides/error-codes, https://learn.microsoft.com/azure/ai-services/openai,
https://docs.anthropic.com/en/api/errors, https://ai.google.dev/gemini-api/docs/troubleshooting,
https://openrouter.ai/docs/api-reference/errors, https://console.groq.com/docs/errors, https://docs.mistral.ai/api,
https://docs.vllm.ai, https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from gateway.errors import Fault, ProviderError

LONGEST_SAID = 1_000
"""Characters that are kept of a provider's message."""
LONGEST_MESSAGE = 8_192
"""Characters of a provider's message that are read."""
LONGEST_LABEL = 100
LONGEST_RETRY_S = 86_400.0
NESTED = 4
"""How deep an answer within an answer is read."""


class ProviderRefusal(NamedTuple):
    """A provider's refusal. `said` is its message without secrets. `code` and `param` are its own, if short."""

    fault: Fault
    said: str = ""
    code: str | None = None
    param: str | None = None
    retry_after_s: float | None = None

    def error(self, message: str, reason: str, status: int | None, body: bytes) -> ProviderError:
        """Return the failed attempt that this refusal is: `message`, and after it the provider's own words."""
        return ProviderError(
            f"{message}: {self.said}" if self.said else message,
            reason=reason,
            status=status,
            body=body,
            fault=self.fault,
            said=self.said,
            code=self.code,
            param=self.param,
            retry_after_s=self.retry_after_s,
        )


def read_refusal(
    status: int,
    body: bytes,
    headers: Mapping[bytes, bytes],
    *,
    secrets: tuple[str, ...] = (),
    clock: Callable[[], float] = time.time,
) -> ProviderRefusal:
    """Return what a reply that is not a success says.

    `headers` may hold `retry-after` and `retry-after-ms`, and `secrets` are texts that must not be repeated. `clock`
    gives seconds since the epoch, for a `Retry-After` that is a date.
    """
    text = body.decode("utf-8", "replace")
    payload = _decoded(text)
    errors = list(_errors(payload, NESTED))
    said = next((message for error in reversed(errors) if (message := _message(error))), "")
    if not errors:
        said = _plain(text)
    said = " ".join(without_secrets(said[:LONGEST_MESSAGE], secrets).encode("utf-8", "replace").decode().split())
    is_page = status == 403 and not errors  # of a firewall before the provider, which did not like this request
    labels = [label for error in errors for label in _labels(error)]
    return ProviderRefusal(
        "invalid" if is_page else _fault(status, " ".join(labels)[:LONGEST_MESSAGE].lower(), said.lower()),
        said[:LONGEST_SAID],
        _first(errors, secrets, "code", "type"),
        _first(errors, secrets, "param"),
        _retry_after(headers, errors, said, clock),
    )


_SECRETS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|nvapi|hf|tgp|fw|AIza|ya29)[-_.]?[A-Za-z0-9][A-Za-z0-9*._-]{10,}"
    r"|(?i:bearer|api[-_ ]?key[\"' ]*[:=])\s*[\"']?[A-Za-z0-9*._~+/-]{8,}=*"
)
_LONG_RUN = re.compile(r"data:[\w.+/-]*[;,]\S*|[A-Za-z0-9+/=_-]{64,}")


def without_secrets(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return the text without keys, data URLs and long runs of base64."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[key]")
    return _LONG_RUN.sub("[data]", _SECRETS.sub("[key]", text))


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _errors(payload: Any, depth: int) -> Iterator[dict[str, Any]]:
    """Yield the objects of an answer that describe its error, the outermost first, the upstream's own last."""
    if isinstance(payload, list):
        payload = next((each for each in payload if isinstance(each, dict)), None)
    if not isinstance(payload, dict) or depth == 0:
        return
    inner = payload.get("error")
    if isinstance(inner, str):
        inner = _decoded(inner) or {"message": inner}
    if isinstance(inner, dict | list):
        yield from _errors(inner, depth - 1)
        return
    yield payload
    for nested in (payload.get("innererror"), _within(payload.get("metadata"), "raw"), payload.get("message")):
        found = _decoded(nested) if isinstance(nested, str) and nested.lstrip()[:1] in ("{", "[") else nested
        if isinstance(found, dict | list):
            yield from _errors(found, depth - 1)
        elif nested is not payload.get("message") and isinstance(nested, str):
            yield {"message": nested}


def _message(error: Mapping[str, Any]) -> str:
    """Return the message of one object, in whichever member the provider puts it."""
    for name in ("message", "detail", "error_description", "msg", "title"):
        found = error.get(name)
        if isinstance(found, str) and found.strip():
            return found.strip()
        if isinstance(found, dict):
            return _message(found)
        if isinstance(found, list):
            said = "; ".join(_complaint(each) for each in found[:4])
            if said:
                return said
    return ""


def _complaint(each: Any) -> str:
    """Return one entry of FastAPI's `detail`: where, and what is wrong there."""
    if not isinstance(each, dict):
        return str(each)[:LONGEST_MESSAGE]
    where = each.get("loc")
    said = str(each.get("msg") or each.get("message") or "")
    return f"{'.'.join(map(str, where))}: {said}" if isinstance(where, list) else said


_TAGS = re.compile(r"<[^<>]{0,500}>")
LONGEST_PAGE = 4_096
"""Characters of a page that are looked at."""


def _plain(text: str) -> str:
    """Return the words of a page or of a plain text, as one short line."""
    text = text[:LONGEST_PAGE]
    start = text.lower().find("<title>")
    end = text.lower().find("</title>", start)
    title = text[start + len("<title>") : end] if 0 <= start < end else _TAGS.sub(" ", text)
    return " ".join(title.split())


def _labels(error: Mapping[str, Any]) -> list[str]:
    """Return the short words by which an object names its error."""
    found = [error.get(name) for name in ("code", "type", "status", "reason", "__type")]
    details = error.get("details")
    if isinstance(details, list):
        found += [each.get("reason") for each in details if isinstance(each, dict)]
    return [each for each in found if isinstance(each, str)]


def _first(errors: list[dict[str, Any]], secrets: tuple[str, ...], *names: str) -> str | None:
    """Return the innermost short label of these names."""
    for error in reversed(errors):
        for name in names:
            found = error.get(name)
            if isinstance(found, str) and 0 < len(found) <= LONGEST_LABEL and found.isprintable():
                return without_secrets(found, secrets)
    return None


def _within(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _any_of(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(phrases))


_CONTEXT = _any_of(
    r"context[_ ]?(?:length|window|size|limit)",
    r"maximum context|context_too_long|n_ctx|exceed_context_size|model_max_prompt_tokens",
    r"(?:prompt|input) is too long|too many (?:input )?tokens\b",
    r"(?:prompt|input|messages?)\b.{0,60}\b(?:exceeds?|longer than|too long|too large)\b.{0,80}\btoken",
    r"token count\b.{0,60}\bexceeds|reduce the length of (?:the|your) (?:messages|prompt|input)",
    r"maximum (?:allowed )?(?:input|prompt) (?:length|tokens?|size)",
    r"exceeds? the (?:model'?s? )?(?:maximum |max )?(?:number of )?(?:input )?tokens?\b",
    r"requested tokens?\b.{0,40}\bexceed",
)
_RATE = _any_of(
    r"rate[_ ]?limit|too many requests|resource_exhausted|throttl|tokens_limit|requests_limit",
    r"(?:tokens|requests|images) per (?:minute|day|hour|second|min)\b|\b[tr]p[md]\b",
    r"retry(?:ing)? (?:again )?(?:in|after)\b",
)
_CONTENT = _any_of(
    r"content[_ ]?(?:filter|policy|management)|responsibleaipolicy|safety (?:system|policy|filter|settings)",
    r"\bflagged\b|moderation|prohibited[_ ]content|data_inspection|inappropriate|usage polic|recitation",
    r"sensitive content|harmful|content exists risk|blocked by (?:our|the|azure|google)",
)
_NO_MONEY = _any_of(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|credit balance|(?:no|not enough|out of) credits?\b",
    r"billing_(?:not_active|hard_limit)|payment required|exceeded_current_quota|account .{0,80}suspended",
)
_ACCOUNT = _any_of(
    _NO_MONEY.pattern,
    r"billing|api_key|invalid_token|authentication|unauthori[sz]ed|unauthenticated|permission_denied|deactivated",
    r"model_not_found|model_decommissioned|deploymentnotfound|unsupported_country|access_?denied|account|organi[sz]ation",
)
"""Labels: codes, types and reasons, in which nothing of the client's is repeated."""
_ACCOUNT_FIRST = re.compile(
    r"(?:error: )?(?:the |this |your |you have |user |provided )?(?:"
    r"credit balance|api[ _-]?key|account|organi[sz]ation|subscription|billing|location is not|no credits?"
    r"|insufficient (?:quota|balance|credit|funds)|exceeded your (?:current )?(?:quota|budget)|payment required"
    r"|invalid api|incorrect api|unknown model|no such model|invalid model|unable to access model"
    r"|reached your specified api usage limits|models/[^ ]{0,100} is not found"
    r"|(?:registry\.[^ ]{0,100} )?(?:requested )?(?:model|deployment|engine) ['\"`]?[^ ]{0,100}['\"`]? ?"
    r"(?:was |is |has been |does )?(?:not (?:found|exist|available|deployed)|decommissioned|deprecated))"
)
"""How messages begin that speak of the account."""
_UNSUPPORTED = _any_of(
    r"unsupported|endpoints found that support|(?:not|n't|no|cannot) (?:currently )?(?:yet )?support|not compatible",
    r"unrecogni[sz]ed|unknown (?:field|name|parameter|argument)|extra (?:inputs|fields)|extra_forbidden",
    r"unexpected (?:field|keyword|property|role)|additional properties|expected one of|not a multimodal",
    r"(?:is|are) not (?:allowed|permitted|enabled|valid)|does not (?:accept|allow|take)|cannot be used with",
    r"only (?:the )?(?:default|one|1)\b|must be (?:one of|less|at most|set|=|1\b)|requires? .{0,40}enabl",
    r"invalid[ _]value|too large: \d+|not allowed to",
)
_TOO_LARGE = _any_of(
    r"request (?:entity |body |payload )?(?:is )?too large|payload too large|request_too_large",
    r"exceeds \d+ ?mb\b|maximum: \d+ bytes",
)
_OVERLOADED = _any_of(r"overload|temporarily unavailable|service unavailable|at capacity|try again later")


def _fault(status: int, labels: str, said: str) -> Fault:
    """Return what a refusal blames, by its words first and by its status where the words are silent.

    A message may repeat what the client sent. So that no client can make a candidate rest, a 4xx blames the account
    only by its status, by its labels, or by how its message begins.
    """
    text = f"{labels} {said}"
    if status == 429:
        return _fault_of_429(labels, said)
    if status in (408, 425, 529):
        return "overloaded"
    if status >= 500:
        return _requests_own(text) or "overloaded"
    if status == 402 and "fewer max_tokens" in said:
        return "too_large"
    if status in (401, 402, 407) or status < 400:
        return "account"
    if status == 413:
        return "context_length" if _CONTEXT.search(text) and not _RATE.search(text) else "too_large"
    return _fault_by_words(status, labels, said)


def _fault_of_429(labels: str, said: str) -> Fault:
    """Return what a 429 blames: besides the rate, the request's size, the account, or the provider's load."""
    if "long context request" in said:
        return "context_length"
    if _TOO_LARGE.search(said):
        return "too_large"
    if _NO_MONEY.search(f"{labels} {said}") and "resource_exhausted" not in labels:
        return "account"
    return "overloaded" if "overload" in labels else "rate_limit"


def _fault_by_words(status: int, labels: str, said: str) -> Fault:
    """Return what another 4xx blames."""
    text = f"{labels} {said}"
    if _CONTENT.search(text):
        return "content_filter"
    if "no endpoints found" in said or "no allowed providers" in said:  # for the client's own wishes, at OpenRouter
        return "unsupported"
    if _ACCOUNT.search(labels) or _ACCOUNT_FIRST.match(said):
        return "account"
    if _CONTEXT.search(text):
        return "context_length"
    if status != 404 and _RATE.search(text):
        return "rate_limit"
    if _UNSUPPORTED.search(text):
        return "unsupported"
    if status in (403, 404, 405, 407) and text.strip():
        return "account"
    if _TOO_LARGE.search(text):
        return "too_large"
    return "overloaded" if _OVERLOADED.search(text) else "invalid"


def _requests_own(text: str) -> Fault | None:
    """Return the fault of a 5xx whose words blame the request, as some servers of open models answer."""
    if _CONTEXT.search(text):
        return "context_length"
    return "content_filter" if "content_filter" in text or "responsibleaipolicy" in text else None


_WAIT = re.compile(
    r"(?:try again|retry|available|reset)\w*(?: in| after)? ((?:\d[\d.]{0,9} ?[a-z]{0,12}[ ,]{0,2}){1,4})"
)
_AMOUNT = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) ?([a-z]*)")
_UNITS = {"ms": 0.001, "mi": 60.0, "m": 60.0, "h": 3600.0, "ho": 3600.0, "d": 86_400.0, "da": 86_400.0}
"""Seconds, by the beginning of a unit's name; seconds for all others."""


def _retry_after(
    headers: Mapping[bytes, bytes], errors: list[dict[str, Any]], said: str, clock: Callable[[], float]
) -> float | None:
    """Return the seconds until the provider wants to be asked again: by its headers, else by its words."""
    for found in (
        _number(headers.get(b"retry-after-ms"), 0.001),
        _number(headers.get(b"retry-after"), 1.0),
        _until(headers.get(b"retry-after"), clock),
        *(_delay(error) for error in errors),
        _in_words(said.lower()),
    ):
        if found is not None:
            return min(max(found, 0.0), LONGEST_RETRY_S)
    return None


def _number(value: bytes | str | None, unit: float) -> float | None:
    try:
        found = float(value or "")
    except ValueError:
        return None
    return found * unit if 0 <= found < 1e12 else None


def _until(value: bytes | None, clock: Callable[[], float]) -> float | None:
    """Return the seconds until an HTTP date (RFC 9110, 10.2.3)."""
    try:
        return email.utils.parsedate_to_datetime((value or b"").decode("latin-1")).timestamp() - clock()
    except (ValueError, TypeError, OverflowError):
        return None


def _delay(error: Mapping[str, Any]) -> float | None:
    """Return Gemini's `details[].retryDelay`, such as "27s"."""
    details = error.get("details")
    for each in details if isinstance(details, list) else ():
        delay = _within(each, "retryDelay")
        if isinstance(delay, str) and delay.endswith("s"):
            return _number(delay[:-1], 1.0)
    return None


def _in_words(said: str) -> float | None:
    """Return the wait that a message names, as in "try again in 1m2.5s" or "retry after 20 seconds"."""
    found = _WAIT.search(said)
    if found is None:
        return None
    return sum(float(amount) * _unit(name) for amount, name in _AMOUNT.findall(found[1]))


def _unit(name: str) -> float:
    return 0.001 if name.startswith("milli") else _UNITS.get(name) or _UNITS.get(name[:2], 1.0)
