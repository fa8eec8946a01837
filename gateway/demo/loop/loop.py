"""The loop, top to bottom: a poor router, traffic with exploration, late and partial labels, export, retrain, promote.

Every step is a command that an operator has; its output is kept in the folder.
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
"""The exit status of `loupe retrain` when it promotes nothing."""
BAD_QUERIES = 600
CHARACTERS_PER_TOKEN = 4
_ID = 12


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """The terms of running the loop.

    Attributes:
        requests: requests per round; after each round the router is retrained, until a router is promoted, at most
            `rounds` times.
        explore: the share of requests that explore.
        start: number of queries that the poor router learns from.
        held_out: share of the table's groups that no router learns from: the frontiers are judged on them.
        judged: share of the outcomes, the newest, that retraining judges on.
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
    """The result of the loop.

    Attributes:
        rounds: the result of each retraining, as the command wrote it.
        frontier: the figures before and after, on the held-out queries.
        bad: the result for the bad artifact.
        tally: the tally of all traffic, including during promotion.
        promoted_under: requests that were in progress or came while the router was retrained and promoted.
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
    """Run the loop; all files are written into `folder`. Raises ServiceError and CommandError."""
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
        site.await_router(serving)  # the bad artifact must not have replaced the router
    cells = sum(bool(row.get(f"{name}_correct")) for row in table.start for name in table.candidates)
    return LoopResult(table, rounds, frontier, bad, was_refused, cells, traffic.tally, under)


def _begin(site: LoopSite, table: LoopTable, path: Path, terms: LoopSettings, say: Callable[[str], None]) -> None:
    """Write tables and prices, and train and promote a router that has seen little."""
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
    """Ask, label, export, retrain, until a router is promoted.

    Returns the result of each round, and the number of requests during retraining.
    """
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
    """Export and retrain with the router in service, while requests continue."""
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
    """Compare the poor router and the one in service, on queries that neither has seen, each with all its outcomes."""
    say(f"drawing the frontier on {len(table.held_out)} held-out queries, before and after")
    offered = ("--offer", site.artifacts / serving[:_ID], "--artifacts", site.folder / "before")
    drawn = ("--report", site.folder / "frontier", "--json", site.folder / "frontier.json")
    site.run("retrain", *offered, *_held_out(site, table), *drawn, may_end_with=(0, NOT_BETTER))
    return site.read("frontier.json")


def _offer_bad(
    site: LoopSite, table: LoopTable, terms: LoopSettings, say: Callable[[str], None]
) -> tuple[dict[str, Any], bool]:
    """Offer a router that learned from shuffled labels. Returns the result, and whether it was refused."""
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
