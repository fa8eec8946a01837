"""Files from the Hugging Face hub and from pinned addresses, verified by their hashes; archives, unpacked in a folder.

huggingface_hub knows the endpoint (HF_ENDPOINT), the token, proxies, redirects and listings. Its own downloads are not
used, because they discard a file that broke off, and compare sizes, not hashes.
"""

from __future__ import annotations

import hashlib
import tarfile
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, get_session, hf_hub_url
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status
from tqdm import tqdm

from gateway.errors import ConfigError
from models.registry import HUB, RemoteFile

_SILENCE_S = 30.0
_RANGE_NOT_SATISFIABLE, _PARTIAL_CONTENT = 416, 206
_GIT_DIGITS = 40


class DownloadError(ConfigError):
    """A file cannot be downloaded, or is not the expected one. Then no file has the target's name."""


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file at an address whose content is known in advance.

    `digest` is a sha256, or git's own 40 digits for a small file of the hub; `size` is in bytes, None when unknown.
    """

    url: str
    digest: str
    size: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def pinned(file: RemoteFile, hub: str | None = None) -> PinnedFile:
    """Return the address of a listed file: at the mirror `hub`, or at the publisher (HF_ENDPOINT for the hub's files).

    The user's token of the hub is sent with the hub's files only.
    """
    of_hub = file.base == HUB
    start = hub or (ENDPOINT if of_hub else file.base)
    return PinnedFile(f"{start.rstrip('/')}/{file.path}", file.sha256, file.size, build_hf_headers() if of_hub else {})


def list_dataset(name: str, revision: str, hub: str | None = None) -> dict[str, PinnedFile]:
    """Return every file of a data set by its path, all at the current commit of `revision`. Raises DownloadError."""
    api = HfApi(endpoint=hub)
    url = f"{api.endpoint}/datasets/{name}"
    try:
        with _said_in_one_line(url):
            commit = api.dataset_info(name, revision=revision).sha
            tree = list(api.list_repo_tree(name, recursive=True, revision=commit, repo_type="dataset"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DownloadError(f"{url}: the answer is not a listing of files: {error}") from error
    files = {}
    for entry in tree:
        if isinstance(entry, RepoFile):
            _refuse_escape(entry.path)
            digest = entry.lfs.sha256 if entry.lfs is not None else entry.blob_id
            address = hf_hub_url(name, entry.path, repo_type="dataset", revision=commit, endpoint=hub)
            files[entry.path] = PinnedFile(address, digest, entry.size, build_hf_headers())
    return files


def download(file: PinnedFile, target: Path) -> Path:
    """Download a file to `target`, with a progress bar if standard error is a terminal. Raises DownloadError."""
    with tqdm(total=file.size, desc=target.name, unit="B", unit_scale=True, disable=None) as bar:
        return fetch(file, target, bar)


def fetch(file: PinnedFile, target: Path, bar: tqdm, stop: threading.Event | None = None) -> Path:
    """Download a file to `target`, unless the file there already has the right digest.

    What arrives is kept in `<target>.partial`, so that the next call continues after an interruption. `stop` ends the
    download. Raises DownloadError: unreachable, refused, broken off, not writable, or of another digest (then removed).
    """
    partial = target.with_name(target.name + ".partial")
    try:
        if target.is_file() and _digest(target, file) == file.digest:
            bar.update(target.stat().st_size)
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with _said_in_one_line(file.url, target):
            _receive(file, partial, bar, stop)
        found = _digest(partial, file)
        if found != file.digest:
            partial.unlink()
            raise DownloadError(f"{file.url} is not the expected file: its digest is {found}, not {file.digest}")
        partial.replace(target)
    except OSError as error:
        raise DownloadError(f"{error.filename or target} cannot be written: {error.strerror or error}") from error
    return target


def unpack(archive: Path, folder: Path) -> int:
    """Unpack the regular files of a tar archive into the folder; an existing file of the same size is kept.

    Returns the number of files in the archive. Raises ConfigError: not an archive, cut short, or with a path that leads
    out of the folder.
    """
    if not hasattr(tarfile, "data_filter"):
        raise ConfigError(f"unpacking {archive} safely takes Python 3.11.4 or newer, or any other tool: tar -xf")
    count = 0
    try:
        with tarfile.open(archive, "r:*") as opened:
            for member in tqdm(opened, desc=f"unpacking {archive.name}", unit=" files", disable=None):
                if member.isfile() and not PurePosixPath(member.name).name.startswith("._"):
                    count += 1
                    safe = tarfile.data_filter(member, str(folder))
                    there = folder / safe.name
                    if not (there.is_file() and there.stat().st_size == safe.size):
                        opened.extract(safe, folder, filter="data")
    except tarfile.FilterError as error:
        raise ConfigError(f"{archive}: nothing more is unpacked: {error}") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        reason = str(error).partition("\n")[0].rstrip(":")  # further lines list all compressions tried
        raise ConfigError(f"{archive} is not an archive that can be unpacked: {reason}") from error
    return count


def _receive(file: PinnedFile, partial: Path, bar: tqdm, stop: threading.Event | None) -> None:
    """Append the missing bytes to the partial file."""
    held = partial.stat().st_size if partial.is_file() else 0
    if held and held == file.size:
        bar.update(held)
        return
    headers = {**file.headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {})
    with get_session().stream("GET", file.url, headers=headers, timeout=_SILENCE_S) as response:
        if held and response.status_code == _RANGE_NOT_SATISFIABLE:  # the partial file is longer than the server's
            partial.unlink()
            _receive(file, partial, bar, stop)
            return
        hf_raise_for_status(response)
        done = held if response.status_code == _PARTIAL_CONTENT else 0
        if bar.total is None and response.headers.get("Content-Length", "").isdigit():
            bar.reset(total=done + int(response.headers["Content-Length"]))
        bar.update(done)
        with partial.open("ab" if done else "wb") as written:
            for chunk in response.iter_raw():
                if stop is not None and stop.is_set():
                    raise DownloadError(f"{file.url} was stopped")
                done += written.write(chunk)
                bar.update(len(chunk))
                if file.size is not None and done > file.size:
                    break  # too long, so the digest will be wrong too


def _digest(path: Path, file: PinnedFile) -> str:
    """Return the digest of a file, of the kind that is expected for it."""
    if len(file.digest) == _GIT_DIGITS:
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _refuse_escape(path: str) -> None:
    """Raise DownloadError for a listed path that does not lie below its folder."""
    if {"", ".", ".."} & set(path.split("/")) or any(sign in path for sign in "\\:\0"):
        raise DownloadError(f"the hub lists {path!r}, which is not a path below a folder")


@contextmanager
def _said_in_one_line(url: str, target: Path | None = None) -> Iterator[None]:
    """Raise network errors as DownloadError."""
    host = urlsplit(url).netloc
    try:
        yield
    except HfHubHTTPError as error:
        status, said = error.response.status_code, error.server_message
        reason = f"{status} {error.response.reason_phrase}" + (f" ({' '.join(said.split())})" if said else "")
        hint = "; a file that needs a login takes a token in HF_TOKEN" if status in (401, 403) else ""
        raise DownloadError(f"{host} answered {reason} for {error.response.url}{hint}") from error
    except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.ReadTimeout) as error:
        raise DownloadError(f"{host} broke off while sending {url}: {error}; run this again to go on there") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OfflineModeIsEnabled, HFValidationError) as error:
        elsewhere = f"; or fetch {url} elsewhere and copy it to {target}" if target is not None else ""
        raise DownloadError(
            f"{host} cannot be reached: {error}. Check the network, HTTPS_PROXY (a proxy) and HF_ENDPOINT (a mirror)"
            + elsewhere
        ) from error
