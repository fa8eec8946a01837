"""A small server of image files and of what is none, for requests that name images by URL."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.e2e.harness.pictures import moving_gif, picture, png_that_claims

PICTURE = picture()


@contextmanager
def serving_pictures() -> Iterator[int]:
    """Serve on 127.0.0.1 while the block runs; gives the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pictures)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Pictures(BaseHTTPRequestHandler):
    """Good and bad answers, by path."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/to":
            self._answer(302, b"", Location=query)
        elif path == "/loop":
            self._answer(302, b"", Location="/loop")
        elif path == "/never":
            self._answer(200, b"", **{"Content-Type": "image/png", "Content-Length": "99"})
            threading.Event().wait(60)
        elif path == "/broken-off":
            self._answer(200, PICTURE[:50], **{"Content-Type": "image/png", "Content-Length": str(len(PICTURE))})
        elif path == "/says-huge":
            self._answer(200, PICTURE, **{"Content-Type": "image/png", "Content-Length": str(10**9)})
        elif path in PAGES:
            status, media_type, body = PAGES[path]
            more = {"Content-Encoding": "gzip"} if path == "/gzip" else {}
            self._answer(status, body, **({"Content-Type": media_type} if media_type else {}), **more)
        else:
            self._answer(404, b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)


PAGES: dict[str, tuple[int, str, bytes]] = {
    "/picture": (200, "image/png", PICTURE),
    "/gif": (200, "image/gif", moving_gif()),
    "/page": (200, "text/html", b"<html></html>"),
    "/page-as-image": (200, "image/png", b"<html></html>" * 9),
    "/svg": (200, "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'></svg>"),
    "/no-type": (200, "", PICTURE),
    "/gzip": (200, "image/png", PICTURE),
    "/nothing": (200, "image/png", b""),
    "/truncated": (200, "image/png", PICTURE[:-20]),
    "/huge": (200, "image/png", PICTURE + b"\0" * 600_000),
    "/pixels": (200, "image/png", png_that_claims(20_000, 20_000)),
}
