"""Run a gateway under replay load with a real Prometheus, to test the dashboards and to draw their figures.

    python -m benchmarks.observability.watched_gateway --seconds 240 --out docs [--table CSV --images DIR]

The pool (`loupe replay`) and the gateway (`loupe serve`, two workers) are separate processes. Answers are labelled
through `POST /v1/feedback`, by the table's right answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.common.processes import free_port
from benchmarks.common.prometheus_server import Prometheus, prometheus_server
from benchmarks.observability.replay_load import Ask, Replies, Target, drive
from benchmarks.observability.watched_config import KEYS, settings_of
from gateway.demo.services import HOST, running
from gateway.providers.replay import read_table
from gateway.providers.replay.candidates import CANDIDATES
from gateway.providers.replay.drawn_table import simulate, write_table
from gateway.providers.replay.tasks import draw_tasks

RENDER = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "render.py"
WORKERS = 2
TASKS = 120
POOL = ("--unknown", "answer", "--latency-ms", "60", "--first-byte-ms", "20")
FAULTS = ("--fail-rate", "0.05", "--no-usage-rate", "0.05")


@dataclass(frozen=True, slots=True)
class Watched:
    """The running site: the gateway, its Prometheus, and the questions to send."""

    target: Target
    prometheus: Prometheus
    replies: Replies
    asks: Sequence[Ask]
    began: float

    def load(self, per_second: float, seconds: float) -> None:
        """Send requests at this rate for this time."""
        asyncio.run(drive(self.target, self.asks, self.replies, per_second=per_second, seconds=seconds))


@contextmanager
def watched(folder: Path, table: Path | None = None, images: Path | None = None) -> Iterator[Watched]:
    """Run pool, gateway and Prometheus within the context; without a table, questions are the demo's drawn tasks."""
    if table is None:
        table = write_table(simulate(draw_tasks(TASKS, 0), CANDIDATES, 0), folder)
    asks = asks_of(table, images or table.parent)
    pool_port = free_port()
    words = ["replay", "--table", str(table), "--port", str(pool_port), *POOL, *FAULTS]
    words += ["--images", str(images)] if images else []
    port = free_port()
    with ExitStack() as stack:
        stack.enter_context(running("loupe replay", words, pool_port, "/v1/models", folder / "replay.log"))
        config = folder / "gateway.yaml"
        config.write_text(yaml.safe_dump(settings_of(folder, f"http://{HOST}:{pool_port}/v1")), encoding="utf-8")
        serve = ["serve", "--config", str(config), "--port", str(port), "--workers", str(WORKERS)]
        stack.enter_context(running("loupe serve", serve, port, "/readyz", folder / "gateway.log"))
        prometheus = stack.enter_context(prometheus_server(folder / "prometheus", f"{HOST}:{port}"))
        yield Watched(Target(f"http://{HOST}:{port}", dict(KEYS)), prometheus, Replies(), asks, time.time())


def asks_of(table: Path, images: Path) -> list[Ask]:
    """Return the questions of all rows that have an image and that all candidates have answered."""
    names = {candidate.name for candidate in CANDIDATES}
    return [
        Ask(query.question, (images / query.image_path).read_bytes(), query.answer)
        for query in read_table([table], images).queries
        if query.image_path and names <= set(query.cells)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the load, then draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--per-second", type=float, default=20.0)
    parser.add_argument("--table", type=Path, metavar="CSV", help="MMR-Bench's wide CSV; default: the demo's tasks")
    parser.add_argument("--images", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("docs"), metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    print(
        " ".join(
            [
                sys.executable.rpartition("/")[2],
                "-m benchmarks.observability.watched_gateway",
                *(arguments or sys.argv[1:]),
            ]
        )
    )
    with tempfile.TemporaryDirectory() as name, watched(Path(name), chosen.table, chosen.images) as site:
        site.load(chosen.per_second, chosen.seconds)
        time.sleep(2)  # two more scrapes
        words = ["--prometheus", site.prometheus.url, "--seconds", str(int(time.time() - site.began))]
        words += ["--note", f"{chosen.table.name if chosen.table else 'drawn tasks'}, replayed: no model is behind it"]
        subprocess.run([sys.executable, str(RENDER), *words, "--out", str(chosen.out)], check=True)
        report = {"statuses": site.replies.statuses, "labelled": site.replies.labelled}
    print(json.dumps(report))
    if chosen.json:
        chosen.json.write_text(json.dumps(report) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
