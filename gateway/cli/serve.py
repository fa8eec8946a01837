"""`loupe serve`: run the gateway."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from pathlib import Path

import uvicorn

from gateway.api.protocol import OnePieceProtocol
from gateway.app import build
from gateway.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="see deploy/gateway.yaml")
    parser.add_argument("--host", help="instead of server.host")
    parser.add_argument("--port", type=int, help="instead of server.port")


def run(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config)
    _tune_interpreter()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    server = uvicorn.Server(
        uvicorn.Config(
            build(settings),
            host=arguments.host or settings.server.host,
            port=settings.server.port if arguments.port is None else arguments.port,
            http=OnePieceProtocol,
            ws="none",
            access_log=False,
            log_level="info",
            timeout_graceful_shutdown=int(settings.server.shutdown_s),
            server_header=False,
            proxy_headers=False,
        )
    )
    server.run()
    return 0 if server.started else 1


def _tune_interpreter() -> None:
    """A server makes many short-lived objects and shares the interpreter between a loop and a few helper threads."""
    gc.set_threshold(50_000, 20, 100)
    sys.setswitchinterval(0.001)  # seconds that a thread may keep the loop waiting
