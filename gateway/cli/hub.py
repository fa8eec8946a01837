"""Data sets on a hub that speaks Hugging Face's API: what files there are, and each of them proven.

A listing gives every file's size and hash: sha256 for large files (LFS), git's own for small ones. Nothing stands
under its name before its hash is that one.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from gateway.cli.download import DownloadError, download

HUGGING_FACE = "https://huggingface.co"

_TIMEOUT_S = 30.0
_MOST_PAGES = 10_000
_MOST_BYTES = 1 << 26

Arrived = Callable[[int], None]
"""Called with how many bytes of a file are there."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A data set at one revision: a branch, a tag or a commit."""

    hub: str
    name: str
    revision: str = "main"

    def listing_url(self, cursor: str = "") -> str:
        query = {"recursive": "true"} | ({"cursor": cursor} if cursor else {})
        return f"{self.hub}/api/datasets/{quote(self.name)}/tree/{quote(self.revision, safe='')}?{urlencode(query)}"

    def file_url(self, path: str) -> str:
        return f"{self.hub}/datasets/{quote(self.name)}/resolve/{quote(self.revision, safe='')}/{quote(path)}"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub lists it. `sha256` is None for a small one, which `git_oid` proves."""

    path: str
    size: int
    sha256: str | None
    git_oid: str


def list_files(repository: Repository) -> list[HubFile]:
    """Every file, however many pages the listing has. Raises DownloadError."""
    files: list[HubFile] = []
    cursor, seen = "", set[str]()
    while cursor not in seen and len(seen) < _MOST_PAGES:
        seen.add(cursor)
        url = repository.listing_url(cursor)
        page, cursor = _page(url)
        for entry in page:
            if not isinstance(entry, dict):
                raise _not_a_listing(url, entry)
            if entry.get("type") == "file":
                files.append(_file(url, entry))
        if not cursor:
            return files
    raise DownloadError(f"{repository.hub}: the listing of {repository.name} leads in a circle")


def fetch(repository: Repository, file: HubFile, folder: Path, arrived: Arrived) -> Path:
    """Have one file below `folder`, resumed if it was begun; one that is there and right is left. DownloadError."""
    target = folder.joinpath(*PurePosixPath(file.path).parts)
    url = repository.file_url(file.path)

    def progress(_name: str, done: int, _total: int | None) -> None:
        arrived(done)

    if file.sha256 is not None:
        download(url, target, sha256=file.sha256, size=file.size, progress=progress)
    elif not (target.is_file() and _git_oid(target) == file.git_oid):
        unproven = target.with_name(target.name + ".unproven")
        download(url, unproven, size=file.size, progress=progress)
        found = _git_oid(unproven)
        if found != file.git_oid:
            unproven.unlink()
            raise DownloadError(f"{url} is not the file that is listed: git calls it {found}, not {file.git_oid}")
        unproven.replace(target)
    arrived(file.size)
    return target


def _page(url: str) -> tuple[list[Any], str]:
    """A page's entries, and the cursor of the next one; empty at the end."""
    with _open(url) as response:
        link = response.headers.get("Link", "")
        try:
            page = json.loads(response.read(_MOST_BYTES))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DownloadError(f"{url} gave no listing: {error or type(error).__name__}") from error
    if not isinstance(page, list):
        raise _not_a_listing(url, page)
    return page, _cursor(link)


def _open(url: str) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    loopback = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not (loopback or parts.scheme == "https") or not parts.hostname:
        raise DownloadError(f"{url}: only https is fetched (and http from this machine)")
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if loopback else []))
    opener.addheaders = [("User-Agent", "loupe"), ("Accept", "application/json")]
    try:
        response: http.client.HTTPResponse = opener.open(url, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(f"{parts.netloc} answered {error.code} {error.reason} for {url}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DownloadError(
            f"{parts.netloc} cannot be reached: {reason or type(reason).__name__}. Check the network, or HTTPS_PROXY "
            "if there is a proxy; --hub names another hub"
        ) from error
    if urlsplit(response.url).scheme != parts.scheme:  # hashes that came in the clear prove nothing
        response.close()
        raise DownloadError(f"{url} sends us on to {response.url}: only https is followed")
    return response


def _cursor(link: str) -> str:
    """Of `<https://hub/api/...?cursor=X>; rel="next"`. The address itself is not followed: it may be another hub's."""
    for part in link.split(","):
        address, _, relation = part.partition(";")
        if 'rel="next"' in relation:
            return parse_qs(urlsplit(address.strip(" <>")).query).get("cursor", [""])[0]
    return ""


def _file(url: str, entry: dict[str, Any]) -> HubFile:
    path, size, oid, large = (entry.get(name) for name in ("path", "size", "oid", "lfs"))
    sha256 = large.get("oid") if isinstance(large, dict) else None
    proof, digits = (sha256, 64) if large is not None else (oid, 40)
    if not (isinstance(path, str) and isinstance(size, int) and size >= 0 and _is_hex(proof, digits)):
        raise _not_a_listing(url, entry)
    _refuse_escape(path)
    return HubFile(path=path, size=size, sha256=sha256, git_oid=str(oid))


def _is_hex(text: object, digits: int) -> bool:
    return isinstance(text, str) and len(text) == digits and set(text) <= set("0123456789abcdef")


def _refuse_escape(path: str) -> None:
    """A file of a data set lies below its folder, whoever wrote the listing."""
    parts = path.split("/")
    if {"", ".", ".."} & set(parts) or any("\\" in part or part[1:2] == ":" or "\0" in part for part in parts):
        raise DownloadError(f"the hub lists {path!r}, which is no path below a folder")


def _not_a_listing(url: str, found: object) -> DownloadError:
    return DownloadError(f"{url} gave no listing of files: {str(found)[:120]}")


def _git_oid(path: Path) -> str:
    """Git's name of a file's content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
