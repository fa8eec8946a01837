"""`loupe loop-demo` as a reader runs it, on a small table of texts: real processes, every step a command."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

KINDS = {
    "Read the number on this receipt": (0.97, 0.9),
    "Prove that the two triangles are similar": (0.05, 0.95),
    "Which bar of the chart is highest": (0.93, 0.9),
    "What is the area of the shaded ring in square inches": (0.02, 0.9),
}
"""A text, and the chances of the cheap and of the dear candidate."""


def written_table(folder: Path, rows: int) -> Path:
    random = np.random.default_rng(0)
    with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        names = [f"{name}_{what}" for name in ("small", "large") for what in ("correct", "token", "cost")]
        writer = csv.DictWriter(file, ["dataset_idx", "group", "question", "answer", *names])
        writer.writeheader()
        for number in range(rows):
            kind = tuple(KINDS)[int(random.integers(len(KINDS)))]
            row = {"dataset_idx": f"q{number}", "group": f"q{number}", "question": f"{kind}, {number}?", "answer": "7"}
            for name, chance, price in zip(("small", "large"), KINDS[kind], (1e-6, 3e-5), strict=True):
                tokens = int(random.integers(20, 60))
                right = random.random() < chance
                cells = {"correct": int(right), "token": tokens, "cost": f"{price * (tokens + 30):.9f}"}
                row |= {f"{name}_{what}": str(value) for what, value in cells.items()}
            writer.writerow(row)
    return folder / "texts.csv"


@pytest.mark.slow
def test_the_loop_turns_drops_nothing_and_refuses_a_bad_artifact(tmp_path: Path) -> None:
    table, file, keep = written_table(tmp_path, 900), tmp_path / "loop.json", tmp_path / "keep"
    words = ("--table", table, "--json", file, "--plot", tmp_path / "loop.png", "--keep", keep)
    how = ("--router", "linear_mf", "--requests", "250", "--rounds", "2", "--workers", "2")
    command = [sys.executable, "-m", "gateway.cli", "loop-demo", *map(str, words), *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1_500)
    assert "Traceback" not in done.stderr, done.stdout + done.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    assert done.returncode == (1 if found["problems"] else 0), done.stdout
    assert (found["requests_dropped"], found["bad_artifact_refused"]) == (0, True)
    assert found["requests"] > found["requests_while_promoting"] > 0
    assert found["labels"] > 100
    assert found["reasons"] == {"routed": found["requests"]} or "explored" in json.dumps(found["reasons"])
    assert all(name in found for name in ("nauc_before", "nauc_after", "qnc_before", "qnc_after", "cells_after"))
    if found["rounds"][-1]["promoted"]:
        assert found["nauc_after"] > found["nauc_before"]
        assert found["cells_after"] > found["cells_before"] == 128
    assert (tmp_path / "loop.png").read_bytes().startswith(b"\x89PNG")
    assert "SIMULATED" not in done.stdout and str(table) in done.stdout
