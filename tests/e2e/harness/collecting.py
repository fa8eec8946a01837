"""A data set that a replay pool answers, `loupe collect` on it, and the pool's own account of what it was asked."""

from __future__ import annotations

import csv
import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from gateway.providers.replay import Faults, ReplayApp, read_table, serving
from routers.table.formats import read_table as read_outcomes
from routers.table.outcome_table import OutcomeTable
from tests.e2e.harness.scripted_provider import wait_until

PRICES = {"large": ("2.5", "10"), "middle": ("1.25", "5"), "small": ("0.075", "0.3")}
"""USD per million tokens: input, output."""
NAMES = tuple(PRICES)
REAL_PRICES = {"GPT-4o": ("2.5", "10"), "Gemini-1.5-Pro": ("1.25", "5"), "Claude-3.5-Sonnet": ("3", "15")}
"""Those that the costs of the real tables were computed with."""


def charge(candidate: str, input_tokens: float, output_tokens: float) -> int:
    """Nanodollars, reckoned here on its own: rounded once, up."""
    dear, dearer = PRICES[candidate]
    return math.ceil((Fraction(dear) * int(input_tokens) + Fraction(dearer) * int(output_tokens)) * 1000)


def nanodollars(usd: str) -> int:
    exact = Fraction(usd) * 10**9
    assert exact.denominator == 1
    return int(exact)


@dataclass
class Yard:
    """A source table in a folder, a pool that replays it, and the configuration that leads there."""

    folder: Path
    source: Path
    app: ReplayApp
    config: Path
    url: str = ""

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def journal(self) -> list[dict[str, Any]]:
        """Its whole lines so far."""
        path = self.out / "journal.jsonl"
        text = path.read_bytes() if path.exists() else b""
        return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]

    @property
    def manifest(self) -> dict[str, Any]:
        found = json.loads((self.out / "manifest.json").read_text())
        assert isinstance(found, dict)
        return found

    def words(self, *more: str, budget: str = "1000", candidates: Sequence[str] = NAMES) -> list[str]:
        fixed = ["collect", "--dataset", self.source, "--config", self.config, "--out", self.out]
        chosen = ["--candidates", ",".join(candidates), "--budget", budget, "--encoder", "none", "--retry-s", "0.01"]
        return [*map(str, fixed), *chosen, *more]

    def start(self, *more: str, **chosen: Any) -> subprocess.Popen[str]:
        """`loupe collect` as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", *self.words(*more, **chosen)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *more: str, **chosen: Any) -> tuple[int, str, str]:
        """The same, to its end: exit status, output, errors."""
        process = self.start(*more, **chosen)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def ends(self, outcome: str | None = None) -> int:
        return sum(1 for line in self.journal if "end" in line and outcome in (None, line["outcome"]))

    def until_ended(self, process: subprocess.Popen[str], count: int) -> None:
        """Wait until so many requests have come to an end."""

        def is_there() -> bool:
            assert process.poll() is None, process.communicate()
            return self.ends() >= count

        wait_until(is_there, f"{count} ends")

    def pool(self, kind: str) -> int:
        """Requests that the pool counted, of all candidates together: `requests`, `completed`, `failed`, ..."""
        return sum(getattr(tally, kind) for tally in self.app.counts.tallies.values())

    @property
    def pool_bill(self) -> int:
        """Nanodollars that the pool would charge, by its own count of tokens."""
        return sum(
            charge(name, tally.prompt_tokens, tally.completion_tokens)
            for name, tally in self.app.counts.tallies.items()
            if name in PRICES
        )

    def assert_whole(self, candidates: Sequence[str] = NAMES) -> OutcomeTable:
        """Table and CSV hold every cell of the source: score, tokens, and cost to the nanodollar."""
        wanted = read_outcomes(self.source)
        for path in (self.out, self.out / "table.csv"):
            found = read_outcomes(path)
            assert found.query_ids == wanted.query_ids
            assert found.candidates == tuple(candidates)
            assert found.questions == wanted.questions
            columns = wanted.select(candidates)
            assert np.array_equal(found.score, columns.score)
            assert np.array_equal(found.output_tokens, columns.output_tokens)
            assert found.input_tokens is not None and columns.input_tokens is not None
            assert np.array_equal(found.input_tokens, columns.input_tokens)
            for column, name in enumerate(candidates):
                tokens = zip(found.input_tokens[:, column], found.output_tokens[:, column], strict=True)
                charges = [charge(name, *each) for each in tokens]
                assert [round(cost * 10**9) for cost in found.cost_usd[:, column]] == charges
        assert self.manifest["complete"]
        return found

    def billed(self) -> tuple[int, int]:
        """Nanodollars as the manifest has them: billed, and at most beyond that."""
        spend = self.manifest["spend"]
        return nanodollars(spend["billed_usd"]), nanodollars(spend["unknown_at_most_usd"])

    def cells_cost(self) -> int:
        """Nanodollars of all cells of the source."""
        table = read_outcomes(self.source)
        assert table.input_tokens is not None
        return sum(
            charge(name, *tokens)
            for column, name in enumerate(table.candidates)
            for tokens in zip(table.input_tokens[:, column], table.output_tokens[:, column], strict=True)
        )


@contextmanager
def yard(folder: Path, rows: int, faults: Faults | None = None) -> Iterator[Yard]:
    """A pool over so many rows, one in four with an image; answers of every kind. No prompt is over its ceiling."""
    source = write_source(folder, rows)
    app = ReplayApp(read_table([source]), faults=faults)
    with serving(app) as url:
        yield Yard(folder, source, app, write_config(folder, f"{url}/v1"), f"{url}/v1")


def write_source(folder: Path, rows: int) -> Path:
    draw = random.Random(7)
    answers = ("42", "2.5", "B", "Mar", "(2, -4)")
    path = folder / "source.csv"
    records: list[Mapping[str, object]] = []
    for number in range(rows):
        answer = answers[number % len(answers)]
        options = " (A) one (B) two (C) three" if answer == "B" else ""
        image = f"{number}.png" if number % 4 == 0 else ""
        if image:
            Image.new("RGB", (40 + number % 7, 30), (number % 256, 90, 120)).save(folder / image)
        record = {"dataset_idx": f"q{number}", "group": f"g{number // 3}", "question": f"What is {number}?{options}"}
        record |= {"answer": answer, "img_path": image}
        for name in NAMES:
            record |= {f"{name}_correct": draw.randrange(2), f"{name}_token": draw.randrange(8, 60)}
            record |= {f"{name}_prompt_token": draw.randrange(20, 400 if image else 80)}
        records.append(record)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    return path


def write_config(folder: Path, url: str, prices: Mapping[str, tuple[str, str]] = PRICES) -> Path:
    """Candidates at these prices; the small ones' replies have few tokens, so that holds are near what is billed."""
    path = folder / "gateway.yaml"
    limits = {"image_tokens": "flat:400", "max_output_tokens": 100}
    if prices is not PRICES:
        limits = {"image_tokens": "flat:2000", "max_output_tokens": 4_000}
    candidates = [
        {"name": name, "provider": "pool", "input_usd_per_mtok": float(dear), "output_usd_per_mtok": float(dearer)}
        | limits
        for name, (dear, dearer) in prices.items()
    ]
    candidates.append({"name": "elsewhere", "provider": "other", "input_usd_per_mtok": 1, "output_usd_per_mtok": 1})
    providers = {"pool": {"base_url": url}, "other": {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "NOT_SET"}}
    path.write_text(yaml.safe_dump({"providers": providers, "candidates": candidates}), encoding="utf-8")
    return path


def with_input_tokens(table: OutcomeTable) -> OutcomeTable:
    """A real table with the input tokens that its recorded costs stand for at `REAL_PRICES`."""
    prices = np.array([REAL_PRICES[name] for name in table.candidates], dtype=np.float64)
    tokens = (table.cost_usd * 1e6 - table.output_tokens * prices[:, 1]) / prices[:, 0]
    assert np.abs(tokens - np.rint(tokens)).max() < 1e-3, "whole tokens"
    return replace(table, input_tokens=np.rint(tokens))
