"""A part of a command in a process of its own, which outlives it: when the command is killed, that part is told, and
brings what it has begun to its end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gateway.errors import ConfigError, LoupeError

Work = Callable[[int | None], dict[str, Any]]
"""Given a descriptor that comes to its end when the command is gone (None: it never is), returns what JSON can hold."""
FORWARDED = (signal.SIGINT, signal.SIGTERM)


def outlive(work: Work) -> dict[str, Any]:
    """Do the work in a process of its own, in a session of its own: what is done to the command (kill -9, a terminal
    that closes) is not done to it, but for ^C and SIGTERM, which are passed on.

    Returns what it returned. Raises ConfigError where it did, or was itself killed. Call it before there are threads.
    """
    if not hasattr(os, "fork"):
        return work(None)
    sys.stdout.flush()
    sys.stderr.flush()
    gone, alive = os.pipe()
    result, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(alive)
        os.close(result)
        _be_the_child(work, gone, told)
    os.close(gone)
    os.close(told)
    try:
        with _forwarding(pid):
            said = _read_all(result)
            os.waitpid(pid, 0)
    finally:
        os.close(alive)  # whatever ended us early: the child learns of it
        os.close(result)
    return _understood(said)


def fall_silent() -> None:
    """Nobody reads what is printed any more: let it fail nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _be_the_child(work: Work, gone: int, told: int) -> None:
    """Never returns: what stands on the stack above is the parent's."""
    try:
        os.setsid()
        said: dict[str, Any]
        try:
            said = {"result": work(gone)}
        except LoupeError as error:
            said = {"error": str(error)}
        except KeyboardInterrupt:
            said = {"interrupted": True}
        sys.stdout.flush()
        sys.stderr.flush()
        _write_all(told, json.dumps(said).encode())
    except BrokenPipeError:
        pass  # the command is gone, and nobody asks
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _understood(said: bytes) -> dict[str, Any]:
    try:
        found = json.loads(said)
    except ValueError:
        raise ConfigError("the process that asks was killed: the same command goes on") from None
    if "interrupted" in found:
        raise KeyboardInterrupt
    if "error" in found:
        raise ConfigError(found["error"])
    result: dict[str, Any] = found["result"]
    return result


@contextmanager
def _forwarding(pid: int) -> Iterator[None]:
    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(pid, number)

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 65_536):
        parts.append(part)
    return b"".join(parts)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
