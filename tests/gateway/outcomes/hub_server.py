"""A real server that answers as the Hugging Face hub does to huggingface_hub, and hands out plain files beside that."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "gh0stHunter/MMR-Bench"
COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Hub:
    """What the hub holds, how it misbehaves, and what it was asked: paths with their headers.

    `files` are the data set's, `plain` those of other paths. Large files are kept at `store`, those in `small` are not.
    `breaks` and `stalls` say after how many bytes of a file the connection is closed, or nothing more comes.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    plain: dict[str, bytes] = field(default_factory=dict)
    small: frozenset[str] = frozenset()
    store: str = ""
    page: int = 3
    breaks: dict[str, int] = field(default_factory=dict)
    stalls: dict[str, int] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    ranges: bool = True
    listing: Any = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)

    def listed(self) -> list[Any]:
        """The entries as the hub writes them: folders too, and `lfs` for what is not a small text."""
        if self.listing is not None:
            return list(self.listing)
        folders = sorted({name.rpartition("/")[0] for name in self.files if "/" in name})
        return [{"type": "directory", "oid": "0" * 40, "size": 0, "path": name} for name in folders] + [
            self.entry(name, content) for name, content in self.files.items()
        ]

    def entry(self, name: str, content: bytes) -> dict[str, Any]:
        entry = {"type": "file", "size": len(content), "path": name}
        if name in self.small:
            return {**entry, "oid": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
        sha256 = hashlib.sha256(content).hexdigest()
        return {**entry, "oid": "1" * 40, "lfs": {"oid": sha256, "size": len(content), "pointerSize": 130}}

    def fetched(self) -> list[str]:
        """The data set's files that were asked for."""
        return [path.split(f"/resolve/{COMMIT}/")[1] for path, _ in self.asked if "/resolve/" in path]

    def ranges_of(self, path: str) -> list[str]:
        return [headers.get("range", "") for asked, headers in self.asked if asked == path]


class _Answer(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.hub.asked.append((path, {name.lower(): value for name, value in self.headers.items()}))
        if found := re.fullmatch(f"/api/datasets/{REPOSITORY}/revision/(.+)", path):
            self.revision(found[1])
        elif path == f"/api/datasets/{REPOSITORY}/tree/{COMMIT}":
            self.tree(parts.path, parse_qs(parts.query))
        elif found := re.fullmatch(f"/datasets/{REPOSITORY}/resolve/{COMMIT}/(.+)", path):
            if found[1] in self.hub.small:
                self.give(found[1], self.hub.files[found[1]])
            else:
                self.begin(302, Location=f"{self.hub.store}/store/{found[1]}")
        elif path.startswith("/store/"):
            name = path.removeprefix("/store/")
            self.give(name, self.hub.files[name])
        elif path in self.hub.plain:
            self.give(path, self.hub.plain[path])
        else:
            self.begin(404)

    def revision(self, name: str) -> None:
        if name not in ("main", COMMIT):
            headers = {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {name}"}
            self.begin(404, **headers)
            return
        self.begin(200)
        self.wfile.write(json.dumps({"id": REPOSITORY, "sha": COMMIT}).encode())

    def tree(self, path: str, query: dict[str, list[str]]) -> None:
        assert query["recursive"][0].lower() == "true"
        start = int(query.get("cursor", ["0"])[0])
        entries = self.hub.listed()
        after = start + self.hub.page
        host = f"http://{self.headers['Host']}"
        link = {"Link": f'<{host}{path}?recursive=true&cursor={after}>; rel="next"'} if after < len(entries) else {}
        self.begin(200, **link)
        self.wfile.write(json.dumps(entries[start:after]).encode())

    def give(self, name: str, content: bytes) -> None:
        if name in self.hub.wrong:
            content = content[:-1] + bytes([content[-1] ^ 1])
        asked = self.headers.get("Range", "") if self.hub.ranges else ""
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(content):
            self.begin(416)
            return
        part = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if asked else {}
        self.begin(206 if asked else 200, **{"Content-Length": str(len(content) - start)}, **part)
        end = min(self.hub.breaks.get(name, len(content)), self.hub.stalls.get(name, len(content)))
        self.wfile.write(content[start:end])
        if name in self.hub.stalls:
            self.wfile.flush()
            self.hub.closed.wait(60)

    def begin(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """Serve the hub until the block ends. Yields its address."""
    handler = type("Answer", (_Answer,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            hub.closed.set()
            server.shutdown()
            thread.join()
