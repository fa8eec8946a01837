"""A provider that speaks OpenAI's chat completions over HTTP, through aiohttp's pooled connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from gateway.errors import ProviderError

PERMANENT = frozenset({400, 413, 415, 422})
LONGEST_ERROR_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider is and how long to wait for it. Times in seconds.

    `first_byte_s` counts from sending to the reply's first byte, `idle_s` between bytes, `total_s` over all.
    """

    name: str
    base_url: str
    api_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    connect_s: float = 5.0
    first_byte_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0
    max_connections: int = 512


class OpenAIProvider:
    """Implements `Provider`. Make it inside a running loop; close it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._url = endpoint.base_url.rstrip("/") + "/chat/completions"
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            **dict(endpoint.headers),
        }
        if endpoint.api_key:
            headers["Authorization"] = f"Bearer {endpoint.api_key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(
                limit=endpoint.max_connections, limit_per_host=endpoint.max_connections, keepalive_timeout=30
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=endpoint.connect_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def send(self, body: bytes, request_id: str) -> OpenAIExchange:
        endpoint = self._endpoint
        response: aiohttp.ClientResponse | None = None
        try:
            async with asyncio.timeout(endpoint.first_byte_s):
                response = await self._session.post(
                    self._url, data=body, headers={"X-Request-Id": request_id}, allow_redirects=False
                )
                if response.status != 200:
                    raise await self._refusal(response)
                first = await response.content.readany()
            if not first:
                raise ProviderError(f"{endpoint.name} sent an empty reply", reason="empty_reply")
        except TimeoutError as error:
            self._drop(response)
            phase = "connect" if isinstance(error, aiohttp.ServerTimeoutError) else "first_byte"
            raise ProviderError(f"{endpoint.name}: {phase} timed out", reason=f"{phase}_timeout") from None
        except aiohttp.ClientError as error:
            self._drop(response)
            raise ProviderError(f"{endpoint.name}: {error!r}"[:300], reason="connection_failed") from None
        except BaseException:
            self._drop(response)
            raise
        return OpenAIExchange(endpoint, response, first)

    async def close(self) -> None:
        await self._session.close()

    async def _refusal(self, response: aiohttp.ClientResponse) -> ProviderError:
        body = await response.content.read(LONGEST_ERROR_BYTES)
        return ProviderError(
            f"{self._endpoint.name} answered {response.status}",
            reason=f"http_{response.status}",
            status=response.status,
            body=body,
            permanent=response.status in PERMANENT,
        )

    @staticmethod
    def _drop(response: aiohttp.ClientResponse | None) -> None:
        if response is not None:
            response.close()


class OpenAIExchange:
    """Implements `Exchange` over an aiohttp response."""

    def __init__(self, endpoint: Endpoint, response: aiohttp.ClientResponse, first: bytes) -> None:
        self._endpoint = endpoint
        self._response = response
        self._first = first

    async def chunks(self) -> AsyncIterator[bytes]:
        endpoint = self._endpoint
        content = self._response.content
        loop = asyncio.get_running_loop()
        deadline = loop.time() + endpoint.total_s
        data = self._first
        try:
            while data:
                yield data
                if content.at_eof():
                    return
                async with asyncio.timeout_at(min(loop.time() + endpoint.idle_s, deadline)):
                    data = await content.readany()
        except TimeoutError:
            raise ProviderError(f"{endpoint.name}: the reply stalled", reason="idle_timeout") from None
        except aiohttp.ClientError as error:
            raise ProviderError(f"{endpoint.name}: {error!r}"[:300], reason="broke_off") from None

    def close(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
