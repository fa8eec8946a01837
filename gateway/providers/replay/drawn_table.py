"""The simulation of the outcome table that the pool replays: which candidate is right on which task, with how many
tokens.

A candidate is right with its real mean on the nearest real subject, shifted by the task's level. A draw that all
candidates share makes them right and wrong together, as in real tables: a latent normal with correlation RHO, chosen so
that the 0/1 outcomes correlate about as in DynaMath (mean phi .33). Output tokens are log-normal.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from gateway.billing.money import to_usd
from gateway.billing.price import cost
from gateway.providers.replay.candidates import DemoCandidate
from gateway.providers.replay.tasks import Task

RHO = 0.5
LEVEL_SHIFT = (0.35, 0.0, -0.35)
"""Shift of the latent normal per level (easy, middle, hard), in standard deviations."""
TOKEN_SPREAD = 0.38
"""Standard deviation of log tokens."""
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class SimulatedTable:
    """Outcomes of n tasks x K candidates. Tokens are as the pool will bill them; costs are in nanodollars."""

    tasks: tuple[Task, ...]
    candidates: tuple[DemoCandidate, ...]
    right: NDArray[np.bool_]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]

    def costs(self) -> NDArray[np.int64]:
        """Return the costs [n, K] in nanodollars, each cell rounded up as a bill is."""
        prices = [candidate.price() for candidate in self.candidates]
        rows = zip(self.input_tokens.tolist(), self.output_tokens.tolist(), strict=True)
        return np.array([[cost(*cell) for cell in zip(prices, *row, strict=True)] for row in rows], dtype=np.int64)


def simulate(tasks: Sequence[Task], candidates: Sequence[DemoCandidate], seed: int) -> SimulatedTable:
    """Draw one outcome per task and candidate; the same seed gives the same outcomes."""
    generator = np.random.default_rng((seed, len(tasks), len(candidates)))
    shape = (len(tasks), len(candidates))
    normal = NormalDist()
    threshold = np.array(
        [
            [normal.inv_cdf(candidate.means[task.family]) + LEVEL_SHIFT[task.level] for candidate in candidates]
            for task in tasks
        ]
    )
    shared = generator.standard_normal((len(tasks), 1))
    own = generator.standard_normal(shape)
    median = np.array([[candidate.median_tokens(task.family) for candidate in candidates] for task in tasks])
    tokens = np.exp(np.log(median) + TOKEN_SPREAD * generator.standard_normal(shape))
    return SimulatedTable(
        tasks=tuple(tasks),
        candidates=tuple(candidates),
        right=math.sqrt(RHO) * shared + math.sqrt(1 - RHO) * own < threshold,
        input_tokens=np.array([[_input_tokens(task, candidate) for candidate in candidates] for task in tasks]),
        output_tokens=np.maximum(6, np.rint(tokens)).astype(np.int64),
    )


def write_table(table: SimulatedTable, folder: Path) -> Path:
    """Write the table as MMR-Bench's CSV, with its images, into `folder`. Returns the CSV's path."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    path = folder / "simulated.csv"
    costs = table.costs()
    rows = [_row(table, costs, number) for number in range(len(table.tasks))]
    for task, row in zip(table.tasks, rows, strict=True):
        (folder / str(row["img_path"])).write_bytes(task.image)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _row(table: SimulatedTable, costs: NDArray[np.int64], number: int) -> Mapping[str, object]:
    task = table.tasks[number]
    row: dict[str, object] = {
        "dataset_idx": task.id,
        "group": task.id,
        "question": task.question,
        "answer": task.answer,
        "img_path": f"images/{task.id}.png",
        "image_width": task.width,
        "image_height": task.height,
        "subject": task.family,
        "level": task.level,
    }
    for column, candidate in enumerate(table.candidates):
        row[f"{candidate.name}_correct"] = int(table.right[number, column])
        row[f"{candidate.name}_token"] = int(table.output_tokens[number, column])
        row[f"{candidate.name}_prompt_token"] = int(table.input_tokens[number, column])
        row[f"{candidate.name}_cost"] = to_usd(int(costs[number, column]))
    return row


def _input_tokens(task: Task, candidate: DemoCandidate) -> int:
    text = -(-len(task.question) // CHARACTERS_PER_TOKEN)
    return text + candidate.image_input_tokens(task.width, task.height)
