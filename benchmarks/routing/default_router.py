"""Train the router that ships with Loupe again, from the bundled tables in numbers.

    python -m benchmarks.routing.default_router [--out DIR] [--router NAME] [--seeds N]

The same command, package versions and machine give the same bytes. Like `loupe train`, this judges on held-out groups
and then learns from all rows, but it takes `routers/bundled/offline` instead of your own CSV files and images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from routers.artifact import bundled
from routers.registry import ALGORITHMS, DEFAULT
from routers.table.numeric import load_offline
from routers.table.outcome_table import merge
from routers.train import EncoderName, Plan, train


def main(argv: Sequence[str] | None = None) -> int:
    """Judge, train, write the artifact, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=bundled(), metavar="DIR", help="default: the one that is shipped")
    parser.add_argument("--router", choices=sorted(ALGORITHMS), default=DEFAULT, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="splits to judge on before it is trained")
    arguments = parser.parse_args(argv)
    offline = load_offline()
    table = merge([data.table for data in offline.datasets])
    views = {
        name: np.concatenate([data.views[name] for data in offline.datasets]) for name in offline.datasets[0].views
    }
    ends = np.cumsum([len(data.table) for data in offline.datasets])
    parts = {data.name: np.arange(end - len(data.table), end) for data, end in zip(offline.datasets, ends, strict=True)}
    training = train(
        ALGORITHMS[arguments.router],
        (table, views),
        EncoderName(offline.encoder_name, offline.encoder_digest),
        Plan(parts=parts, seeds=tuple(range(arguments.seeds))),
        arguments.out,
        lambda done, count: print(f"judged on split {done} of {count}", file=sys.stderr, flush=True),
    )
    for part, policies in training.judged.items():
        for policy, summary in policies.items():
            figures = ", ".join(f"{name} {mean:.3f}" for name, (mean, _) in summary.figures.items())
            print(f"{part} {policy}: {figures}")
    print(f"wrote {arguments.out}: {training.digest}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
