"""`loupe serve`: run the gateway."""

from __future__ import annotations

import argparse
import gc
import logging
import signal
import socket
import sys
import tempfile
from pathlib import Path

import uvicorn

from gateway.api.server import OnePieceProtocol
from gateway.app.asgi import Gateway, build, reason_of
from gateway.app.child_process import loupe_command
from gateway.app.workers import Workers, follow_parent
from gateway.config.settings import load_config
from gateway.errors import ConfigError, LoupeError
from gateway.telemetry.multiprocess import WorkerPlace

_log = logging.getLogger("loupe")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="see deploy/gateway.yaml")
    parser.add_argument("--host", help="instead of server.host")
    parser.add_argument("--port", type=int, help="instead of server.port")
    parser.add_argument("--workers", type=int, help="instead of server.workers")
    parser.add_argument("--descriptor", type=int, help=argparse.SUPPRESS)  # the socket that a worker inherits
    parser.add_argument(
        "--link", type=int, help=argparse.SUPPRESS
    )  # a socket by which worker and parent know of each other
    parser.add_argument("--place", type=int, default=0, help=argparse.SUPPRESS)  # a worker's place among the workers
    parser.add_argument("--shared", type=Path, help=argparse.SUPPRESS)  # the folder of the workers' metrics


def run(arguments: argparse.Namespace) -> int:
    settings = load_config(arguments.config)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    host = arguments.host or settings.server.host
    port = settings.server.port if arguments.port is None else arguments.port
    workers = settings.server.workers if arguments.workers is None else arguments.workers
    if workers < 1:
        raise ConfigError(f"--workers: {workers} is not 1 or more")
    if workers > 1 and arguments.descriptor is None:
        return _serve_by_workers(arguments.config, _listen(host, port), workers, settings.server.shutdown_s)
    place = None if arguments.shared is None else WorkerPlace(arguments.shared, arguments.place)
    try:
        app = build(settings, arguments.config, workers, place)
    except LoupeError:
        raise
    except Exception as error:  # whatever it is, one line says why
        raise ConfigError(reason_of(error)) from error
    return _serve(app, host, port, (arguments.descriptor, arguments.link))


def _serve(app: Gateway, host: str, port: int, inherited: tuple[int | None, int | None]) -> int:
    descriptor, link = inherited
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # ignored until the service runs, which then reloads on SIGHUP
    _tune_interpreter()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=OnePieceProtocol,
            lifespan="on",  # with "auto", an error at the start would leave a process that serves nothing
            ws="none",
            access_log=False,
            log_level="info",
            timeout_graceful_shutdown=int(app.shutdown_s),
            server_header=False,
            proxy_headers=False,
        )
    )
    if link is not None:
        follow_parent(link, lambda: server.started)
    server.run(sockets=None if descriptor is None else [socket.socket(fileno=descriptor)])
    return 0 if server.started else 1


def _serve_by_workers(config: Path, listener: socket.socket, count: int, shutdown_s: float) -> int:
    def command(place: int, descriptor: int, link: int) -> list[str]:
        words = ["--config", str(config), "--workers", str(count), "--descriptor", str(descriptor), "--link", str(link)]
        return loupe_command("serve", *words, "--place", str(place), "--shared", shared)

    _log.info("%d workers serve http://%s:%d", count, *listener.getsockname()[:2])
    with listener, tempfile.TemporaryDirectory(prefix="loupe-workers-") as shared:
        return Workers(command, listener, count).run(shutdown_s)


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ConfigError when the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(f"server: {host}:{port} cannot be listened on: {error.strerror}") from None


def _tune_interpreter() -> None:
    """Tune the interpreter for a server: many short-lived objects, and a loop that shares it with a
    few helper threads.
    """
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(0.001)  # seconds that a thread may keep the loop waiting
