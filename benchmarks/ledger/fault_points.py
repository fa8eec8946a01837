"""The faults: each brings some requests to a point, breaks something there, and repairs it where this is possible.

A fault notes in its run the statuses of replies, and the requests that the provider completed without the client's
getting a reply (`owed`). Code that waits for a point waits for an observable sign of it, never for a fixed time.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from signal import SIGCONT, SIGSTOP
from typing import Protocol

from benchmarks.ledger.fault_rig import PATIENCE_S, Rig, body, headers, until
from tests.e2e.harness.scripted_provider import Call, Script
from tests.e2e.harness.scripts import answer, hang, say_then_hang, wait_then
from tests.gateway.stores.redis.redis_server import RedisServer

IN_FLIGHT, MEANWHILE = 4, 6
SLEEP_S = 1.0


@dataclass
class Run:
    """The state of one run.

    Attributes:
        statuses: replies by status (0: no reply).
        owed: requests that the provider completed but whose client got no reply.
        spent, held: nanodollars in the ledger afterwards.
        served_s, freed_s: seconds until requests were served again, and until no reservation was left.
    """

    tenant: str
    statuses: Counter[int] = field(default_factory=Counter)
    owed: int = 0
    spent: int = 0
    held: int = 0
    served_s: float = 0.0
    freed_s: float = 0.0

    def ask(self, rig: Rig, number: int) -> int:
        status = rig.ask(number, self.tenant)
        self.statuses[status] += 1
        return status


class Fault(Protocol):
    def __call__(self, rig: Rig, run: Run) -> None: ...


def killed_unsent(rig: Rig, run: Run) -> None:
    """Kill a gateway when requests are reserved and their connections to the provider are begun."""
    asked = [rig.asking(0, run.tenant, "unsent") for _ in range(IN_FLIGHT)]
    rig.silent.wait_for_hellos(IN_FLIGHT)
    _kill(rig, run, asked)
    rig.silent.forget()


def killed_sent(rig: Rig, run: Run) -> None:
    """Kill a gateway when the provider has the requests and has not answered."""
    asked, _ = _in_flight(rig, run, hang(), [0] * IN_FLIGHT)
    _kill(rig, run, asked)


def killed_streaming(rig: Rig, run: Run) -> None:
    """Kill a gateway when clients have the beginning of a stream."""
    rig.provider.forget()
    rig.provider.on("canned", say_then_hang("abcd"))
    connections = [http.client.HTTPConnection("127.0.0.1", rig.ports[0], timeout=PATIENCE_S) for _ in range(IN_FLIGHT)]
    for connection in connections:
        connection.request("POST", "/v1/chat/completions", body("canned", stream=True), headers(run.tenant))
        reply = connection.getresponse()
        while b"abcd" not in reply.readline():
            pass
    _kill(rig, run, [])
    for connection in connections:
        connection.close()


def killed_unsettled(rig: Rig, run: Run) -> None:
    """Kill a gateway that was frozen before the provider sent the last byte, so that it never settled."""
    release = threading.Event()
    asked, calls = _in_flight(rig, run, wait_then(release, answer()), [0] * IN_FLIGHT)
    rig.gateways[0].freeze()
    release.set()
    if not all(call.ended.wait(PATIENCE_S) for call in calls):
        raise TimeoutError("the provider did not come to its end")
    run.owed += IN_FLIGHT
    _kill(rig, run, asked)


def killed_settled(rig: Rig, run: Run) -> None:
    """Kill a gateway when clients have the whole reply."""
    asked, _ = _in_flight(rig, run, answer(), [0] * IN_FLIGHT)
    run.statuses.update(each.result() for each in asked)
    _kill(rig, run, [])


def redis_sleeps(rig: Rig, run: Run) -> None:
    """Make Redis sleep by `DEBUG SLEEP`."""
    server = _redis(rig)
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as sleeper:

        def sleep() -> None:
            sleeper.sendall(b"DEBUG SLEEP %g\r\n" % SLEEP_S)
            until(lambda: not _pongs(server.port))

        _meanwhile(rig, run, sleep, lambda: sleeper.recv(16))


def redis_is_killed(rig: Rig, run: Run) -> None:
    """Kill Redis by `kill -9`, and start a new Redis on the same append-only file."""
    _meanwhile(rig, run, _redis(rig).kill, _redis(rig).start)


def redis_is_stopped(rig: Rig, run: Run) -> None:
    server = _redis(rig)
    _meanwhile(rig, run, lambda: server.signal(SIGSTOP), lambda: server.signal(SIGCONT))


def disk_is_full(rig: Rig, run: Run) -> None:
    _meanwhile(rig, run, lambda: rig.disk.fill(rig), lambda: rig.disk.clear(rig))


FAULTS: dict[str, Fault] = {
    "kill -9, held but not sent": killed_unsent,
    "kill -9, sent but not answered": killed_sent,
    "kill -9, in the middle of a stream": killed_streaming,
    "kill -9, answered but not settled": killed_unsettled,
    "kill -9, settled": killed_settled,
    "Redis DEBUG SLEEP": redis_sleeps,
    "Redis killed and restarted": redis_is_killed,
    "Redis SIGSTOP": redis_is_stopped,
    "full disk": disk_is_full,
}


def _kill(rig: Rig, run: Run, asked: list[Future[int]]) -> None:
    """Kill the first gateway, whose requests must then get no reply, and send requests to the other gateway.

    Raises RuntimeError when the killed gateway answered a request.
    """
    rig.gateways[0].kill()
    for each in asked:
        if each.result() != 0:
            raise RuntimeError(f"a killed gateway answered {each.result()}: it was killed too late")
    rig.provider.forget()
    for _ in range(MEANWHILE):
        run.ask(rig, 1)


def _meanwhile(rig: Rig, run: Run, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Break something while the provider has requests of both gateways; then let it answer, and send more requests."""
    release = threading.Event()
    asked, _ = _in_flight(rig, run, wait_then(release, answer()), [0, 1] * (IN_FLIGHT // 2))
    begin()
    try:
        release.set()
        run.statuses.update(each.result() for each in asked)
        for number in range(MEANWHILE):
            run.ask(rig, number % 2)
    finally:
        end()


def _in_flight(rig: Rig, run: Run, script: Script, gateways: list[int]) -> tuple[list[Future[int]], list[Call]]:
    """Send requests to these gateways, wait until the provider has them all, and return them and the provider's calls.

    On a busy machine, Redis may answer too late for a request. Such a request is refused, and is sent again.
    """
    rig.provider.forget()
    rig.provider.on("canned", script)
    asked = [rig.asking(number, run.tenant) for number in gateways]

    def are_there() -> bool:
        for place, number in enumerate(gateways):
            if asked[place].done() and asked[place].result() == 503:
                run.statuses[503] += 1
                asked[place] = rig.asking(number, run.tenant)
        return len(rig.provider.calls) >= len(gateways)

    until(are_there)
    return asked, list(rig.provider.calls)


def _redis(rig: Rig) -> RedisServer:
    assert rig.redis is not None
    return rig.redis


def _pongs(port: int) -> bool:
    """Return whether a Redis answers at once."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.05) as probe:
        probe.sendall(b"PING\r\n")
        return probe.recv(16).startswith(b"+PONG")
    return False
