"""A file arrives whole and proven, or not at all, from a real server over real sockets."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from gateway.cli.download import DownloadError, download

CONTENT = np.random.default_rng(3).bytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """What the server does, and what it was asked."""

    content: bytes = CONTENT
    breaks_after: int | None = None
    ranges: bool = True
    says_length: bool = True
    etag: str = ""
    redirect: str = ""
    wrong_range: bool = False
    stalls: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            behaviour.asked.append({name.lower(): value for name, value in self.headers.items()})
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", behaviour.redirect)
                self.end_headers()
            elif urlsplit(self.path).path != "/file":
                self.send_error(404)
            else:
                self.answer()

        def answer(self) -> None:
            content, start = behaviour.content, 0
            asked = self.headers.get("Range", "")
            same = self.headers.get("If-Range", behaviour.etag) == behaviour.etag
            if asked and behaviour.ranges and same:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                shown = start + behaviour.wrong_range
                self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            if behaviour.etag:
                self.send_header("ETag", behaviour.etag)
            if behaviour.says_length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content) if behaviour.breaks_after is None else start + behaviour.breaks_after
            self.wfile.write(content[start:end])
            if behaviour.stalls:
                self.wfile.flush()
                stop.wait(10)

        def log_message(self, format: str, *args: object) -> None:
            pass

    stop = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/file"
        finally:
            stop.set()
            server.shutdown()
            thread.join()


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("says_length", [True, False])
def test_file_arrives_whole_and_alone(tmp_path: Path, says_length: bool) -> None:
    seen: list[tuple[str, int, int | None]] = []
    with serving(Behaviour(says_length=says_length, etag='"v1"')) as url:
        target = tmp_path / "new" / "file.bin"
        found = download(url, target, sha256=SHA256, size=len(CONTENT), progress=lambda *said: seen.append(said))
    assert found == target
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == {"file.bin"}
    assert seen[-1] == ("file.bin", len(CONTENT), len(CONTENT) if says_length else None)
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})


def test_file_that_is_there_with_its_hash_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    behaviour = Behaviour()
    with serving(behaviour) as url:
        download(url, tmp_path / "file", sha256=SHA256)
        assert behaviour.asked == []
        (tmp_path / "file").write_bytes(b"old")
        download(url, tmp_path / "file", sha256=SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_truncated_file_is_refused_and_the_next_try_resumes(tmp_path: Path) -> None:
    behaviour = Behaviour(breaks_after=300_000)
    with serving(behaviour) as url:
        with pytest.raises(DownloadError, match=r"broke off after 300,000 of 700,000 bytes .* run this again"):
            download(url, tmp_path / "file", sha256=SHA256)
        assert left_in(tmp_path) == {"file.partial"}
        behaviour.breaks_after = None
        download(url, tmp_path / "file", sha256=SHA256)
    assert behaviour.asked[1]["range"] == "bytes=300000-"
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert left_in(tmp_path) == {"file"}


def test_server_without_ranges_starts_over(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(b"x" * 1000)
    behaviour = Behaviour(ranges=False)
    with serving(behaviour) as url:
        download(url, tmp_path / "file", sha256=SHA256)
    assert behaviour.asked[0]["range"] == "bytes=1000-"
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_wrong_hash_leaves_nothing(tmp_path: Path) -> None:
    with serving(Behaviour(content=b"another file")) as url, pytest.raises(DownloadError, match="not the file that"):
        download(url, tmp_path / "file", sha256=SHA256)
    assert left_in(tmp_path) == set()


def test_damaged_part_is_found_by_the_hash_and_removed(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(b"x" * 1000)
    with serving(Behaviour()) as url:
        with pytest.raises(DownloadError, match="not the file that"):
            download(url, tmp_path / "file", sha256=SHA256)
        assert left_in(tmp_path) == set()
        download(url, tmp_path / "file", sha256=SHA256)
    assert left_in(tmp_path) == {"file"}


@pytest.mark.parametrize("says_length", [True, False])
@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1, 10])
def test_other_size_leaves_nothing(tmp_path: Path, says_length: bool, size: int) -> None:
    behaviour = Behaviour(says_length=says_length)
    with serving(behaviour) as url, pytest.raises(DownloadError, match=f"{size:,} were expected"):
        download(url, tmp_path / "file", size=size)
    assert left_in(tmp_path) == set()


def test_without_a_hash_only_the_servers_word_resumes(tmp_path: Path) -> None:
    behaviour = Behaviour(breaks_after=1000, etag='"v1"')
    with serving(behaviour) as url:
        with pytest.raises(DownloadError, match="broke off"):
            download(url, tmp_path / "file")
        behaviour.breaks_after = None
        download(url, tmp_path / "file")
    assert (behaviour.asked[1]["range"], behaviour.asked[1]["if-range"]) == ("bytes=1000-", '"v1"')
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert left_in(tmp_path) == {"file"}


def test_file_that_changed_on_the_server_is_fetched_anew(tmp_path: Path) -> None:
    behaviour = Behaviour(breaks_after=1000, etag='"v1"')
    with serving(behaviour) as url:
        with pytest.raises(DownloadError, match="broke off"):
            download(url, tmp_path / "file")
        behaviour.breaks_after, behaviour.etag, behaviour.content = None, '"v2"', CONTENT[::-1]
        download(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_part_that_nothing_could_prove_is_not_resumed(tmp_path: Path, etag: str) -> None:
    behaviour = Behaviour(breaks_after=1000, etag=etag)
    with serving(behaviour) as url:
        with pytest.raises(DownloadError, match="broke off"):
            download(url, tmp_path / "file")
        behaviour.breaks_after = None
        download(url, tmp_path / "file")
    assert "range" not in behaviour.asked[1]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_part_longer_than_the_file_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(b"x" * (len(CONTENT) + 5))
    with serving(Behaviour()) as url:
        download(url, tmp_path / "file", sha256=SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_whole_part_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(CONTENT)
    behaviour = Behaviour()
    with serving(behaviour) as url:
        download(url, tmp_path / "file", sha256=SHA256, size=len(CONTENT))
    assert behaviour.asked == []
    assert left_in(tmp_path) == {"file"}


def test_range_that_was_not_asked_for_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(CONTENT[:1000])
    with serving(Behaviour(wrong_range=True)) as url, pytest.raises(DownloadError, match=r"Content-Range 'bytes 1001-"):
        download(url, tmp_path / "file", sha256=SHA256)
    assert left_in(tmp_path) == {"file.partial"}


def test_missing_file_is_named_with_its_status(tmp_path: Path) -> None:
    with serving(Behaviour()) as url, pytest.raises(DownloadError, match=r"answered 404 Not Found for .*/gone"):
        download(url.replace("/file", "/gone"), tmp_path / "file")
    assert left_in(tmp_path) == set()


def test_closed_port_says_which_host_and_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(DownloadError, match=rf"127\.0\.0\.1:{port} cannot be reached: .*copy it to .*file"):
            download(f"http://127.0.0.1:{port}/file", tmp_path / "file")
    assert left_in(tmp_path) == set()


def test_silent_server_is_given_up_and_the_part_kept(tmp_path: Path) -> None:
    behaviour = Behaviour(breaks_after=1000, stalls=True, etag='"v1"')
    with serving(behaviour) as url, pytest.raises(DownloadError, match="broke off after"):
        download(url, tmp_path / "file", sha256=SHA256, opener_timeout_s=0.2)
    assert "file" not in left_in(tmp_path)


@pytest.mark.parametrize("url", ["http://example.org/file", "ftp://127.0.0.1/file", "file:///etc/hostname", "file"])
def test_only_https_is_spoken_beyond_this_machine(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="only https"):
        download(url, tmp_path / "file")


def test_redirect_to_another_host_takes_no_key_along(tmp_path: Path) -> None:
    store, hub = Behaviour(), Behaviour()
    with serving(store) as store_url, serving(hub) as hub_url:
        hub.redirect = store_url
        moved = hub_url.replace("/file", "/moved")
        download(moved, tmp_path / "file", headers={"authorization": "Bearer secret"})
    assert hub.asked[0]["authorization"] == "Bearer secret"
    assert "authorization" not in store.asked[0]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_redirect_to_plain_http_elsewhere_is_refused(tmp_path: Path) -> None:
    behaviour = Behaviour(redirect="http://example.org/file")
    with serving(behaviour) as url, pytest.raises(DownloadError, match="only https is followed"):
        download(url.replace("/file", "/moved"), tmp_path / "file")


def test_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("")
    with serving(Behaviour()) as url:
        with pytest.raises(DownloadError, match="is a folder"):
            download(url, tmp_path / "folder")
        with pytest.raises(DownloadError, match=r"plain.* cannot be written"):
            download(url, tmp_path / "plain" / "file")
