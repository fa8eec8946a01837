"""Images fetched for a client, under guard: a stranger chooses the URL, and this process is inside a network.

Rule: a host is resolved once, every address is checked, and the connection goes to the checked addresses. The
connector's own resolver does the check, so that no second look-up can give another answer.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from gateway.images.agreement import disagreement
from gateway.images.data_url import ImageLimits, Subject, check_agreement, check_bytes, check_pixels
from gateway.images.header import HeaderIncomplete, ImageHeader, NotAnImage, image_size, is_cut_short
from gateway.images.public_url import (
    DEFAULT_PORTS,
    BadUrl,
    PublicUrl,
    is_local_name,
    is_public,
    is_public_text,
    parse_url,
)

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> its addresses, as text. Raises OSError when there are none."""

FORBIDDEN = "image_url_forbidden"
MALFORMED = "invalid_image_url"
UNREACHABLE = "image_unreachable"
TIMED_OUT = "image_timeout"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_PUBLIC = "leads to a host that is not public; only public hosts are fetched from."
_HEADERS = {
    "Accept": "image/png, image/jpeg, image/webp, image/gif",
    "Accept-Encoding": "identity",
    "User-Agent": "loupe",
}


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """The rules for what may be fetched.

    Attributes:
        allow_hosts: `host` or `host:port` that may be private and on any port: the operator's own image server.
        max_concurrent: concurrent fetches; further fetches wait, and the wait counts towards their time limit.
        total_timeout_s: for one image, including redirects and waiting.
    """

    schemes: tuple[str, ...] = ("https",)
    allow_hosts: frozenset[str] = frozenset()
    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 64_000_000
    max_redirects: int = 3
    connect_timeout_s: float = 3
    total_timeout_s: float = 10
    max_concurrent: int = 16

    @property
    def limits(self) -> ImageLimits:
        return ImageLimits(self.max_bytes, self.max_pixels)

    def allows(self, host: str, port: int) -> bool:
        """Return whether the operator allows this host (an IPv6 address with or without brackets)."""
        names = (host, f"[{host}]") if ":" in host else (host,)
        vouched = {entry.lower() for entry in self.allow_hosts}
        return any(name in vouched or f"{name}:{port}" in vouched for name in names)


@dataclass(frozen=True, slots=True)
class FetchedImage:
    """An image that passed the checks. `media_type` is by its first bytes; `url` is the client's, not the last
    redirect's.
    """

    data: bytes
    media_type: str
    width: int
    height: int
    url: str


async def look_up(host: str, port: int) -> Sequence[str]:
    """Look up a host's addresses with the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class ImageFetcher:
    """A fetcher of images under a policy. One per event loop; `open` may be left to the first fetch."""

    def __init__(
        self,
        policy: FetchPolicy,
        *,
        look_up: LookUp = look_up,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._look_up = look_up
        self._tls = tls
        self._slots = asyncio.Semaphore(policy.max_concurrent)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._opened()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def fetch(self, url: str, *, param: str | None = None) -> FetchedImage:
        """Fetch and check one image.

        Raises ImageError, and nothing else: 400 `invalid_image_url`, `image_url_forbidden`, `image_unreachable`,
        `image_timeout` or `invalid_image`; 413 `image_too_large`; 415 `image_type_unsupported`. The message never
        contains a query string or credentials, and is the same for every host that is not public, whatever service runs
        there.
        """
        try:
            asked = parse_url(url)
        except BadUrl as error:
            raise Subject("The image's URL", param).refuse(f"{error}.", MALFORMED) from error
        subject = Subject(f"The image at {asked.shown}", param)
        try:
            async with asyncio.timeout(self._policy.total_timeout_s), self._slots:
                return await self._follow(asked, subject, url)
        except _NotPublic as error:
            raise subject.refuse(_NOT_PUBLIC, FORBIDDEN) from error
        except TimeoutError as error:
            limit = f"{self._policy.total_timeout_s:g} s in all, {self._policy.connect_timeout_s:g} s to connect"
            raise subject.refuse(f"did not come in time ({limit}).", TIMED_OUT) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise subject.refuse(f"could not be fetched: {_reason(error)}.", UNREACHABLE) from error

    async def _follow(self, asked: PublicUrl, subject: Subject, text: str) -> FetchedImage:
        """Follow redirects explicitly, so that each one is checked like the first URL."""
        session, target = self._opened(), asked
        for _ in range(self._policy.max_redirects + 1):
            self._admit(target, subject)
            async with session.get(_destination(target), allow_redirects=False, headers=_HEADERS) as response:
                if response.status not in _REDIRECTS:
                    return await self._read(response, subject, text)
                location = response.headers.get("Location", "")
                response.close()
            target = _redirected(target, location, subject)
        raise subject.refuse(f"redirects more than {self._policy.max_redirects} times.", UNREACHABLE)

    def _admit(self, url: PublicUrl, subject: Subject) -> None:
        """Check what the URL itself says; the addresses of a name are checked when they are known."""
        if url.scheme not in self._policy.schemes:
            taken = ", ".join(self._policy.schemes)
            raise subject.refuse(f"leads to a URL of scheme {url.scheme!r}; taken are: {taken}.", FORBIDDEN)
        if self._policy.allows(url.host, url.port):
            return
        if is_local_name(url.host) if url.address is None else not is_public(url.address):
            raise _NotPublic
        if url.port not in DEFAULT_PORTS.values():
            raise subject.refuse(f"leads to port {url.port}; only 80 and 443 are fetched from.", FORBIDDEN)

    async def _read(self, response: aiohttp.ClientResponse, subject: Subject, url: str) -> FetchedImage:
        """Read the body, but stop as soon as it is not an image within the limits."""
        _check_reply(response, subject, self._policy.limits)
        body, header, need = bytearray(), None, 1
        async for chunk in response.content.iter_any():
            body += chunk
            check_bytes(subject, len(body), self._policy.limits)
            if header is None and len(body) >= need:
                header, need = _header_so_far(body, subject)
                if header is not None:
                    check_pixels(subject, header, self._policy.limits)
        if header is None:
            raise subject.broken("ends inside its header." if body else "is empty: no bytes came.")
        if is_cut_short(header, body):
            raise subject.broken(f"ends before its last pixel: the {header.format.upper()} is cut short.")
        check_agreement(subject, header, disagreement(header, body))
        return FetchedImage(bytes(body), header.media_type, header.width, header.height, url)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is not None:
            return self._session
        connector = aiohttp.TCPConnector(
            resolver=_JudgingResolver(self._policy, self._look_up),
            use_dns_cache=False,
            limit=self._policy.max_concurrent,
            ssl=True if self._tls is None else self._tls,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy would do the look-up itself, unchecked
            auto_decompress=False,  # a small body may not grow past the limits
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._policy.connect_timeout_s),
        )
        return self._session


class _NotPublic(Exception):
    """The host is not public. The error says no more, because an answer must not reveal what is there."""


class _JudgingResolver(AbstractResolver):
    """The only way from a name to an address: one look-up, and every address must be public."""

    def __init__(self, policy: FetchPolicy, look_up: LookUp) -> None:
        self._policy = policy
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._look_up(host, port)
        if not self._policy.allows(host, port) and not all(map(is_public_text, addresses)):
            raise _NotPublic
        if not addresses:
            raise OSError("no address")
        answers = [_resolved(host, port, address) for address in addresses]
        return [answer for answer in answers if family in (socket.AF_UNSPEC, answer["family"])]

    async def close(self) -> None:
        """Do nothing: the resolver holds no resources."""


def _resolved(host: str, port: int, address: str) -> ResolveResult:
    is_v6 = ip_address(address).version == 6
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if is_v6 else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


def _destination(url: PublicUrl) -> URL:
    """Return the URL for the HTTP client, which must read the same host as the check did. Raises
    ValueError otherwise.
    """
    destination = URL(url.text, encoded=True)
    if (destination.host, destination.port) != (url.host, url.port):
        raise ValueError("two readings of one URL")
    return destination


def _redirected(source: PublicUrl, location: str, subject: Subject) -> PublicUrl:
    try:
        target = parse_url(location, base=source)
    except BadUrl as error:
        raise subject.refuse("redirects to a URL that cannot be read.", UNREACHABLE) from error
    if source.scheme == "https" and target.scheme != "https":
        raise subject.refuse(f"redirects from https to {target.scheme}.", FORBIDDEN)
    return target


def _check_reply(response: aiohttp.ClientResponse, subject: Subject, limits: ImageLimits) -> None:
    if response.status != 200:
        raise subject.refuse(f"could not be fetched: its server answered {response.status}.", UNREACHABLE)
    declared = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if not declared.startswith("image/"):
        raise subject.unsupported(f"Content-Type {declared[:80]!r}" if declared else "no Content-Type")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity":
        raise subject.unsupported(f"Content-Encoding {encoding[:80]!r}")
    if response.content_length is not None:
        check_bytes(subject, response.content_length, limits)


def _header_so_far(body: bytearray, subject: Subject) -> tuple[ImageHeader | None, int]:
    """Return the header, or how many bytes to wait for, so that a slow reply is not parsed again with every chunk."""
    try:
        return image_size(body), 0
    except HeaderIncomplete as error:
        return None, error.need or len(body) + 1
    except NotAnImage as error:
        raise subject.unsupported(str(error)) from error


def _reason(error: Exception) -> str:
    """Return a short reason for the client, which reveals nothing of the network in between."""
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the reply broke off"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "no secure connection (TLS)"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its host is not known"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the reply is not HTTP"
    return "the connection failed"
