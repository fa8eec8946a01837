"""Functions that serve a pool: permanently (the command) or while a block runs (tests, demos)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from gateway.errors import ConfigError
from gateway.providers.replay.app import ReplayApp

BACKLOG = 2_048


def run_server(app: ReplayApp, listener: socket.socket) -> None:
    """Serve on the socket that `listen` returned, until interrupted."""
    with listener:
        uvicorn.Server(_config(app)).run(sockets=[listener])


@contextmanager
def serving(app: ReplayApp, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve from a separate thread while the block runs. Yields the base address, such as `http://127.0.0.1:4711`."""
    listener = listen(host, port)
    server = uvicorn.Server(_config(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="loupe-replay")
    with listener:
        thread.start()  # clients may connect at once, because the socket already listens
        try:
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket: clients may connect from now on. Raises ConfigError if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _config(app: ReplayApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        loop="auto",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="critical",  # a reply that breaks off on purpose is not an error of the server
        server_header=False,
        timeout_graceful_shutdown=2,
    )
