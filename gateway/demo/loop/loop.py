"""The loop, top to bottom: a poor router, traffic with exploration, late and partial labels, export, retrain, promote.

Every step is a command that an operator has; what it writes is kept in the folder.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.demo.loop.gateway import LoopSite, telling
from gateway.demo.loop.table import LoopTable, part, prices, shuffled, write
from gateway.demo.loop.traffic import LabelPlan, Traffic, TrafficTally
from gateway.demo.services import HOST, free_port, running
from gateway.providers.replay.table import read_table

NOT_BETTER = 3
"""What `loupe retrain` ends with where it promotes nothing."""
BAD_QUERIES = 600
CHARACTERS_PER_TOKEN = 4
_ID = 12


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How the loop is run.

    Attributes:
        requests: in a round; after each the router is retrained, until one is promoted, `rounds` times at most.
        explore: the share of requests that explore.
        start: queries that the poor router learns from.
        held_out: share of the table's groups that nobody learns from: what the frontiers are judged on.
        judged: share of the newest outcomes that retraining judges on.
        router: the algorithm of all routers here; `linear_mf` trains in seconds, the shipped one takes minutes.
    """

    requests: int = 2_500
    rounds: int = 6
    explore: float = 0.7
    start: int = 64
    held_out: float = 0.3
    judged: float = 0.4
    router: str = "linear_mf"
    seed: int = 0
    workers: int = 1
    labelling: LabelPlan = field(default_factory=LabelPlan)


@dataclass(slots=True)
class LoopResult:
    """What came of it.

    Attributes:
        rounds: what each retraining found, as it wrote it.
        frontier: before and after, on the held-out queries.
        bad: what was found of the bad artifact.
        tally: of all traffic, that during promotion too.
        promoted_under: requests that were under way or came while the router was retrained and promoted.
    """

    table: LoopTable
    rounds: list[dict[str, Any]]
    frontier: dict[str, Any]
    bad: dict[str, Any]
    bad_was_refused: bool
    cells_before: int
    tally: TrafficTally
    promoted_under: int

    @property
    def is_promoted(self) -> bool:
        return bool(self.rounds[-1]["promoted"])


def run_loop(path: Path, folder: Path, terms: LoopSettings, say: Callable[[str], None]) -> LoopResult:
    """Everything that is written goes into `folder`. Raises ServiceFailed and CommandFailed."""
    table = part(path, start=terms.start, held_out=terms.held_out, seed=terms.seed)
    sizes = f"{len(table.start)} queries to start from, {len(table.asked)} to ask, {len(table.held_out)} held out"
    say(f"{path.name}, {len(table.candidates)} candidates: {sizes}")
    site = LoopSite(folder, free_port(), free_port(), f"lp-loop-{secrets.token_hex(16)}", terms.workers)
    _begin(site, table, path, terms, say)
    pool = ["replay", "--table", str(path), "--host", HOST, "--port", str(site.pool_port)]
    serve = ["serve", "--config", str(site.config)]
    with (
        running("loupe replay", pool, site.pool_port, "/v1/models", folder / "replay.log"),
        running("loupe serve", serve, site.port, "/readyz", folder / "gateway.log"),
    ):
        traffic = Traffic(site.url, site.key, table.images, terms.labelling, terms.seed)
        rounds, under = _rounds(site, table, traffic, terms, say)
        serving = site.router()
        frontier = _frontier(site, table, serving, say)
        bad, was_refused = _offer_bad(site, table, terms, say)
        site.await_router(serving)  # still
    cells = sum(bool(row.get(f"{name}_correct")) for row in table.start for name in table.candidates)
    return LoopResult(table, rounds, frontier, bad, was_refused, cells, traffic.tally, under)


def _begin(site: LoopSite, table: LoopTable, path: Path, terms: LoopSettings, say: Callable[[str], None]) -> None:
    """Tables, prices, and a router that has seen little."""
    queries = read_table([path]).queries
    typical = sum(query.image_tokens + len(query.question) / CHARACTERS_PER_TOKEN for query in queries) / len(queries)
    largest = max(query.image_tokens for query in queries)
    site.write_config(prices(table, typical), largest, terms.explore)
    start = write(table.start, site.folder / "start.csv")
    write(table.held_out, site.folder / "held-out.csv")
    write(shuffled(table.asked[:BAD_QUERIES], terms.seed), site.folder / "shuffled.csv")
    say(f"training the poor router on {len(table.start)} queries")
    _train(site, table, start, terms.router, "poor")
    site.run("promote", site.folder / "poor", "--config", site.config)
    site.run("promote", site.folder / "poor", "--artifacts", site.folder / "before")


def _rounds(
    site: LoopSite, table: LoopTable, traffic: Traffic, terms: LoopSettings, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], int]:
    """Ask, label, export, retrain, until something is promoted; what each found, and the requests meanwhile."""
    found: list[dict[str, Any]] = []
    under = 0
    for number in range(terms.rounds):
        asked = [
            table.asked[place % len(table.asked)]
            for place in range(number * terms.requests, (number + 1) * terms.requests)
        ]
        say(f"round {number + 1}: {len(asked)} requests, {terms.explore:.0%} of them explore, some labelled later")
        traffic.send(asked, telling(say, 500, len(asked)))
        before = traffic.tally.sent
        found.append(_retrain(site, table, traffic, terms, say))
        under += traffic.tally.sent - before
        if found[-1]["promoted"]:
            break
    return found, under


def _retrain(
    site: LoopSite, table: LoopTable, traffic: Traffic, terms: LoopSettings, say: Callable[[str], None]
) -> dict[str, Any]:
    """Export and retrain with the router in service, while requests go on."""
    site.run("table", "export", "--store", site.store, "--out", site.folder / "online")
    done = threading.Event()
    meanwhile = threading.Thread(target=traffic.keep_on, args=(table.asked, done.is_set))
    meanwhile.start()
    try:
        say("retraining on what was exported and promoting what is better, while requests go on")
        words = ("--table", site.folder / "start.csv", "--table", site.folder / "online", "--images", table.images)
        kept = ("--embeddings", site.folder / "vectors.npz", "--json", site.folder / "retrained.json")
        how = ("--router", terms.router, "--holdout", str(terms.judged), "--seed", str(terms.seed))
        site.run("retrain", *words, *kept, *how, "--config", site.config, "--promote", may_end_with=(0, NOT_BETTER))
        found = site.read("retrained.json")
        if found["promoted"]:
            site.await_router(found["digest"])
    finally:
        done.set()
        meanwhile.join()
    verdict = "promoted" if found["promoted"] else "not surely better, not promoted"
    say(f"  {verdict}: nAUC {found['difference']:+.4f} on the newest outcomes, at least {found['low']:+.4f} at 95%")
    return found


def _frontier(site: LoopSite, table: LoopTable, serving: str, say: Callable[[str], None]) -> dict[str, Any]:
    """The poor router and the one in service, on queries that neither has seen, each with all its outcomes."""
    say(f"drawing the frontier on {len(table.held_out)} held-out queries, before and after")
    offered = ("--offer", site.artifacts / serving[:_ID], "--artifacts", site.folder / "before")
    drawn = ("--report", site.folder / "frontier", "--json", site.folder / "frontier.json")
    site.run("retrain", *offered, *_held_out(site, table), *drawn, may_end_with=(0, NOT_BETTER))
    return site.read("frontier.json")


def _offer_bad(
    site: LoopSite, table: LoopTable, terms: LoopSettings, say: Callable[[str], None]
) -> tuple[dict[str, Any], bool]:
    """A router that learned from shuffled labels, offered for promotion; whether it was refused."""
    say(f"offering a router that was trained on {BAD_QUERIES} queries with shuffled labels")
    _train(site, table, site.folder / "shuffled.csv", terms.router, "bad")
    offered = ("--offer", site.folder / "bad", "--config", site.config, "--promote")
    status = site.run(
        "retrain", *offered, *_held_out(site, table), "--json", site.folder / "bad.json", may_end_with=(0, NOT_BETTER)
    )
    return site.read("bad.json"), status == NOT_BETTER


def _held_out(site: LoopSite, table: LoopTable) -> tuple[str | Path, ...]:
    vectors = ("--embeddings", site.folder / "vectors.npz")
    return ("--table", site.folder / "held-out.csv", "--images", table.images, *vectors)


def _train(site: LoopSite, table: LoopTable, path: Path, router: str, name: str) -> None:
    words = ("--table", path, "--images", table.images, "--embeddings", site.folder / "vectors.npz")
    site.run("train", *words, "--router", router, "--seeds", "1", "--train", "0.5", "--out", site.folder / name)
