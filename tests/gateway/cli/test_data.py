"""`loupe data pull` against a real server that answers as the hub does: whole and proven, or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from PIL import Image

from gateway.cli import main
from gateway.cli.unpack import unpack
from gateway.errors import ConfigError
from routers.load import read_table

REPOSITORY = "gh0stHunter/MMR-Bench"
TABLE = "dataset_idx,question,GPT-4o_correct,GPT-4o_token,GPT-4o_cost\n" + "".join(
    f'{name},"What is\nthis, {name}?",1,{20 + row},0.001\n'
    for row, name in enumerate(["MathVista_1", "SEEDBench2_Plus_0", "OCRBench_7"])
)
IMAGES = ("MathVista/1.jpg", "SEEDBenchv2Plus/0.jpg", "OCRBench/7.png")


def picture(name: str) -> bytes:
    """An image of some 30 kB: more than a server's buffer, so that it can be cut."""
    random = hashlib.shake_256(name.encode()).digest(100 * 100 * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (100, 100), random).save(file, "png")
    return file.getvalue()


def archive_of(names: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as opened:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return file.getvalue()


PICTURES = {name: picture(name) for name in IMAGES}
SMALL = {
    ".gitattributes": b"*.jpg filter=lfs",
    "README.md": b"# MMR-Bench\n",
    "a b/\xc3\xa4.txt".encode().decode(): b"x",
}
FOLDERS = {"MMR_Bench.csv": TABLE.encode(), **PICTURES, **SMALL}
"""The layout that was published first, and that upstream's loader expects."""
ARCHIVE = {"MMR-Bench.csv": TABLE.encode(), "images.tar.gz": archive_of(PICTURES), **SMALL}
"""The layout of today."""


@dataclass
class Hub:
    """What the hub holds, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    page: int = 3
    breaks: dict[str, int] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    entries: list[Any] | None = None
    listing: Any = None
    circles: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    def listed(self) -> list[Any]:
        """Entries as the hub writes them: folders too, and `lfs` for what is no text."""
        if self.entries is not None:
            return self.entries
        folders = sorted({name.rpartition("/")[0] for name in self.files if "/" in name})
        return [{"type": "directory", "oid": "0" * 40, "size": 0, "path": name} for name in folders] + [
            self.entry(name, content) for name, content in self.files.items()
        ]

    def entry(self, name: str, content: bytes) -> dict[str, Any]:
        entry = {"type": "file", "size": len(content), "path": name}
        if name in SMALL:
            oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return {**entry, "oid": oid}
        sha256 = hashlib.sha256(content).hexdigest()
        return {**entry, "oid": "1" * 40, "lfs": {"oid": sha256, "size": len(content), "pointerSize": 130}}

    def fetched(self) -> list[str]:
        return [path.split("/resolve/main/")[1] for path, _ in self.asked if "/resolve/" in path]


def listing_one(path: str, size: int, oid: str) -> Hub:
    """A hub that lists one small file."""
    return Hub({}, entries=[{"type": "file", "path": path, "size": size, "oid": oid}])


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = unquote(parts.path)
            hub.asked.append((path, self.headers.get("Range", "")))
            if path == f"/api/datasets/{REPOSITORY}/tree/main":
                self.list(parse_qs(parts.query))
            elif found := re.fullmatch(f"/datasets/{REPOSITORY}/resolve/main/(.+)", path):
                if found[1] in SMALL:
                    self.give(found[1])
                else:  # large files are kept elsewhere
                    self.send_response(302)
                    self.send_header("Location", f"/cdn/{found[1]}")
                    self.end_headers()
            elif path.startswith("/cdn/"):
                self.give(path.removeprefix("/cdn/"))
            else:
                self.send_error(404)

        def list(self, query: dict[str, list[str]]) -> None:
            assert query["recursive"] == ["true"]
            start = int(query.get("cursor", ["0"])[0])
            entries = hub.listed()
            self.send_response(200)
            after = 0 if hub.circles else start + hub.page
            if after < len(entries):
                next_page = f"https://elsewhere.invalid/api?recursive=true&cursor={after}"
                self.send_header("Link", f'<{next_page}>; rel="next"')
            self.end_headers()
            page = entries[start : start + hub.page]
            self.wfile.write(json.dumps(page if hub.listing is None else hub.listing).encode())

        def give(self, name: str) -> None:
            content = hub.files[name]
            if name in hub.wrong:
                content = content[:-1] + bytes([content[-1] ^ 1])
            asked = self.headers.get("Range", "")
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : hub.breaks.get(name, len(content))])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pull(url: str, folder: Path, *words: str) -> int:
    return main(["data", "pull", "mmr-bench", "--hub", url, "--out", str(folder), *words])


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("layout", [FOLDERS, ARCHIVE])
def test_table_and_images_arrive_in_either_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: dict[str, bytes]
) -> None:
    with serving(Hub(layout)) as url:
        assert pull(url + "/", tmp_path / "out") == 0
    found = files_in(tmp_path / "out")
    assert found == {name: content for name, content in {**layout, **PICTURES}.items() if name != ".gitattributes"}
    table = read_table(next((tmp_path / "out").glob("*.csv")))
    assert [path and path.relative_to(tmp_path / "out").as_posix() for path in table.image_paths] == list(IMAGES)
    printed = capsys.readouterr()
    assert "3 queries, 3 with their image, 1 candidates" in printed.out
    assert f"{REPOSITORY} [########################]" in printed.err


def test_second_pull_fetches_nothing(tmp_path: Path) -> None:
    hub = Hub(dict(FOLDERS))
    with serving(hub) as url:
        assert pull(url, tmp_path) == 0
        assert len(hub.fetched()) == len(FOLDERS) - 1
        hub.asked.clear()
        (tmp_path / IMAGES[0]).write_bytes(b"spoilt")
        (tmp_path / "README.md").write_bytes(b"spoilt")
        assert pull(url, tmp_path) == 0
        assert sorted(hub.fetched()) == sorted([IMAGES[0], "README.md"])
    assert files_in(tmp_path)[IMAGES[0]] == PICTURES[IMAGES[0]]


def test_broken_transfer_is_resumed_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = Hub(dict(ARCHIVE), breaks={"images.tar.gz": 20_000})
    with serving(hub) as url:
        assert pull(url, tmp_path, "--jobs", "1") == 1
        assert "broke off after 20,000 of" in capsys.readouterr().err
        assert not (tmp_path / "images.tar.gz").exists()
        assert not (tmp_path / "MathVista").exists()
        hub.breaks.clear()
        hub.asked.clear()
        assert pull(url, tmp_path, "--jobs", "1") == 0
        assert ("/cdn/images.tar.gz", "bytes=20000-") in hub.asked
        assert "MMR-Bench.csv" not in hub.fetched()
    assert files_in(tmp_path)[IMAGES[2]] == PICTURES[IMAGES[2]]


@pytest.mark.parametrize("name", ["MMR_Bench.csv", IMAGES[1], "README.md"])
def test_file_of_another_hash_is_refused_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with serving(Hub(dict(FOLDERS), wrong={name})) as url:
        assert pull(url, tmp_path, "--jobs", "1") == 1
    assert "is not the file that" in capsys.readouterr().err
    assert not [path for path in files_in(tmp_path) if path.startswith(name)]


def test_no_images_fetches_the_table_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for layout in (FOLDERS, ARCHIVE):
        with serving(Hub(dict(layout))) as url:
            assert pull(url, tmp_path / str(len(layout)), "--no-images") == 0
        assert sorted(files_in(tmp_path / str(len(layout)))) == [next(iter(layout)), "README.md"]
        assert "3 queries, 0 with their image" in capsys.readouterr().out


def test_offline_is_said_with_the_host_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert pull(f"http://127.0.0.1:{port}", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert f"127.0.0.1:{port} cannot be reached" in said
    assert "HTTPS_PROXY" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("hub", "says"),
    [
        (Hub({}), "has no CSV table"),
        (
            Hub({}, listing={"error": "Repository not found"}),
            "gave no listing of files: {'error': 'Repository not found'}",
        ),
        (Hub({}, entries=["x"]), "gave no listing of files: x"),
        (listing_one("a.csv", -1, "0" * 40), "gave no listing of files"),
        (listing_one("a.csv", 1, "zz"), "gave no listing of files"),
        (
            Hub({}, entries=[{"type": "file", "path": "../a.csv", "size": 1, "oid": "0" * 40}]),
            "'../a.csv', which is no path",
        ),
        (
            Hub({}, entries=[{"type": "file", "path": "/a.csv", "size": 1, "oid": "0" * 40}]),
            "'/a.csv', which is no path",
        ),
        (listing_one("a\\b.csv", 1, "0" * 40), "which is no path"),
        (Hub(dict(FOLDERS), circles=True), "leads in a circle"),
        (Hub({"a.csv": b"no,table\n"}), "a.csv: no column 'dataset_idx'"),
        (Hub({**ARCHIVE, "images.tar.gz": b"no archive"}), "images.tar.gz: not an archive"),
        (Hub({**ARCHIVE, "images.tar.gz": archive_of(PICTURES)[:-30_000]}), "images.tar.gz: not an archive"),
        (Hub({**ARCHIVE, "images.tar.gz": archive_of({"../out.png": b"x"})}), "'../out.png' leads out of the folder"),
        (Hub({**ARCHIVE, "images.tar.gz": archive_of({"/out.png": b"x"})}), "'/out.png' leads out of the folder"),
    ],
)
def test_hub_that_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hub: Hub, says: str
) -> None:
    with serving(hub) as url:
        assert pull(url, tmp_path / "out") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("loupe data: ")]
    assert len(said) == 1
    assert says in said[0]
    assert [path for path in files_in(tmp_path) if "partial" in path or "out.png" in path] == []


def test_refusals_of_the_hub_and_other_schemes_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Hub(dict(FOLDERS))) as url:
        assert pull(url, tmp_path, "--revision", "v9") == 1
    assert "answered 404 Not Found for" in capsys.readouterr().err
    for hub in ("http://192.0.2.1", "file:///etc", "nonsense"):
        assert pull(hub, tmp_path) == 1
        assert "only https is fetched" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["push"], ["pull", "mmlu"], ["pull", "mmr-bench", "--jobs", "0"]])
def test_words_that_are_off_are_a_usage_error(words: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["data", *words])
    assert raised.value.code == 2


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as opened:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        opened.addfile(link)
        inside = tarfile.TarInfo("link/x.png")
        inside.size = 1
        opened.addfile(inside, io.BytesIO(b"x"))
    assert unpack(tmp_path / "a.tar", tmp_path / "out", lambda seen: None) == 1
    assert not (tmp_path / "out" / "link").is_symlink()
    with pytest.raises(ConfigError, match="not an archive"):
        unpack(Path(__file__), tmp_path / "out", lambda seen: None)
