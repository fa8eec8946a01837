"""One file from the network to the disk: resumed, verified, and under its name only when it is whole.

What has arrived is kept in `<target>.partial`, so that a broken transfer goes on where it stopped. Half a file
is never joined to half of another: a transfer is resumed only when a sha256 will prove the whole, or when the
server itself says (`If-Range`) that its file is still the one that was begun.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any
from urllib.parse import urlsplit

from gateway.errors import ConfigError

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes that are there, and how many there will be where that is known."""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_CHUNK = 1 << 18
_OK, _PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 200, 206, 416
_SECRET_HEADERS = ("authorization", "cookie")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class DownloadError(ConfigError):
    """A file could not be had, or is not the one that was meant. Nothing stands under the target's name."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is fetched, and what proves it."""

    url: str
    target: Path
    sha256: str | None
    size: int | None

    @property
    def partial(self) -> Path:
        return self.target.with_name(self.target.name + ".partial")

    @property
    def validator(self) -> Path:
        """Beside the partial file: the ETag of the file on the server that it is a part of."""
        return self.target.with_name(self.target.name + ".partial.etag")

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    headers: Mapping[str, str] = _NO_HEADERS,
    progress: Progress | None = None,
    opener_timeout_s: float = 30.0,
) -> Path:
    """Fetch `url` to `target` and return `target`.

    A target that already has `sha256` is left as it is, and nothing is fetched. `opener_timeout_s` is how long
    the server may be silent. Only https is spoken, and http to this machine; environment proxies are used.
    Raises DownloadError: unreachable, refused, cut off (what came is kept for the next try), of another size or
    hash (what came is removed), or not writable.
    """
    wanted = _Wanted(url, target, sha256, size)
    _refuse_scheme(url)
    try:
        if sha256 is not None and target.is_file() and _sha256(target) == sha256:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise DownloadError(f"{target} is a folder, and a file is to be written there")
        _fetch(wanted, headers, progress, opener_timeout_s)
        _verify(wanted)
        wanted.partial.replace(target)
        wanted.validator.unlink(missing_ok=True)
    except OSError as error:  # the network's are translated where they arise; this is the disk
        raise DownloadError(f"{error.filename or target} cannot be written: {error.strerror or error}") from error
    return target


def _fetch(wanted: _Wanted, headers: Mapping[str, str], progress: Progress | None, timeout_s: float) -> None:
    """Have all of the file in the partial one."""
    held = _held(wanted)
    if held and held == wanted.size:
        return
    ranged = _range_headers(wanted, held)
    try:
        response = _open(wanted, {**headers, **ranged}, timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != _RANGE_NOT_SATISFIABLE or not held:
            raise DownloadError(f"{wanted.host} answered {error.code} {error.reason} for {wanted.url}") from error
        _discard(wanted)  # more is held than the server has
        _fetch(wanted, headers, progress, timeout_s)
        return
    with response:
        start, total = _extent(wanted, response, held)
        if wanted.size is not None and total is not None and total != wanted.size:
            _discard(wanted)
            raise DownloadError(f"{wanted.url} has {total:,} bytes, and {wanted.size:,} were expected")
        _remember_validator(wanted, response)
        _receive(wanted, response, (start, total), progress)


def _held(wanted: _Wanted) -> int:
    """How many bytes of an earlier try can be built on."""
    if not wanted.partial.is_file():
        return 0
    held = wanted.partial.stat().st_size
    provable = wanted.sha256 is not None or wanted.validator.is_file()
    if not provable or (wanted.size is not None and held > wanted.size):
        _discard(wanted)
        return 0
    return held


def _range_headers(wanted: _Wanted, held: int) -> dict[str, str]:
    if not held:
        return {}
    ranged = {"Range": f"bytes={held}-"}
    if wanted.validator.is_file():
        ranged["If-Range"] = wanted.validator.read_text(encoding="ascii")
    return ranged


def _open(wanted: _Wanted, headers: Mapping[str, str], timeout_s: float) -> http.client.HTTPResponse:
    """The answer's head. Raises HTTPError for a refusal, DownloadError when there is no answer."""
    request = urllib.request.Request(  # noqa: S310  # `download` has judged the scheme
        wanted.url, headers={"User-Agent": "loupe", **headers}
    )
    handlers: list[urllib.request.BaseHandler] = [_SafeRedirects()]
    if _is_loopback(wanted.url):
        handlers.append(urllib.request.ProxyHandler({}))  # no proxy can reach what is meant here
    try:
        response: http.client.HTTPResponse = urllib.request.build_opener(*handlers).open(request, timeout=timeout_s)
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DownloadError(
            f"{wanted.host} cannot be reached: {reason or type(reason).__name__}. Check the network, or HTTPS_PROXY "
            f"if there is a proxy; or fetch {wanted.url} elsewhere and copy it to {wanted.target}"
        ) from error
    return response


def _extent(wanted: _Wanted, response: http.client.HTTPResponse, held: int) -> tuple[int, int | None]:
    """Where the answer's bytes belong, and how many the whole file has."""
    if response.status == _OK:  # the whole file, asked for or not
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if response.status == _PARTIAL_CONTENT and held and found and int(found[1]) == held:
        return held, int(found[2]) + 1 if found[3] == "*" else int(found[3])
    raise DownloadError(
        f"{wanted.host} answered {response.status} with Content-Range {response.headers.get('Content-Range')!r} "
        f"to a request for {wanted.url} from byte {held:,}"
    )


def _receive(
    wanted: _Wanted, response: http.client.HTTPResponse, extent: tuple[int, int | None], progress: Progress | None
) -> None:
    done, total = extent
    most = wanted.size if total is None else total
    with wanted.partial.open("r+b" if done else "wb") as file:
        file.seek(done)
        file.truncate()
        while (most is None or done <= most) and (chunk := _read(wanted, response, done)):
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(wanted.target.name, done, total)
    if total is not None and done < total:
        raise DownloadError(
            f"{wanted.host} broke off after {done:,} of {total:,} bytes of {wanted.url}; run this again to go on there"
        )


def _read(wanted: _Wanted, response: http.client.HTTPResponse, done: int) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(
            f"{wanted.host} broke off after {done:,} bytes of {wanted.url} ({error or type(error).__name__}); "
            "run this again to go on there"
        ) from error


def _remember_validator(wanted: _Wanted, response: http.client.HTTPResponse) -> None:
    etag = response.headers.get("ETag", "")
    if etag.startswith('"') and etag.isascii():  # a weak one (W/) does not promise equal bytes
        wanted.validator.write_text(etag, encoding="ascii")
    else:
        wanted.validator.unlink(missing_ok=True)


def _verify(wanted: _Wanted) -> None:
    found = wanted.partial.stat().st_size
    if wanted.size is not None and found != wanted.size:
        _discard(wanted)
        raise DownloadError(f"{wanted.url} gave {found:,} bytes, and {wanted.size:,} were expected")
    if wanted.sha256 is not None and (digest := _sha256(wanted.partial)) != wanted.sha256:
        _discard(wanted)
        raise DownloadError(
            f"{wanted.url} is not the file that was meant: its sha256 is {digest}, not {wanted.sha256}; it was removed"
        )


def _discard(wanted: _Wanted) -> None:
    wanted.partial.unlink(missing_ok=True)
    wanted.validator.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_scheme(url: str) -> None:
    if not (urlsplit(url).scheme == "https" or _is_loopback(url)):
        raise DownloadError(f"{url}: only https is fetched (and http from this machine)")


def _is_loopback(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        return False
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:  # another name
        return False


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows to https only, and takes no key along to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not (urlsplit(newurl).scheme == "https" or (_is_loopback(newurl) and _is_loopback(req.full_url))):
            raise DownloadError(f"{req.full_url} sends us on to {newurl}: only https is followed")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            for name in _SECRET_HEADERS:
                following.headers.pop(name.capitalize(), None)
        return following
