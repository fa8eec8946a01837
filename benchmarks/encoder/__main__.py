"""Measure the cost of encoding: per image and per text, by encoder; decoding separately; and within routed requests.

    python -m benchmarks.encoder [--quick] [--bundle NAME ...] [--json FILE] [--markdown FILE]

Encoders take turns within every round, and the rounds are repeated. Every installed bundle is measured, and with the
extra `export` also a ViT-B-32 of random weights, in fp32 and in int8, because the values of weights do not change the
time. The last part starts `loupe serve` on one pinned core, with the bundled encoder, and sends requests that the
gateway has never seen (cold) and the same requests again (warm); the exit status is 1 unless all of them were routed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.common.processes import DidNotStart
from benchmarks.common.result import command_of, deliver
from benchmarks.encoder.report import markdown
from benchmarks.encoder.routed import routed
from benchmarks.encoder.timing import encoding, preprocessing
from benchmarks.overhead.report import environment
from models.bundle import BUNDLED
from models.registry import locate, pulled_names

SEED = 20_263
ROUNDS, QUICK_ROUNDS = 7, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results if asked. Returns 1 when the last part did not route all requests."""
    arguments = _arguments(argv)
    facts = {
        "command": command_of("encoder", argv),
        **environment(),
        "seed": SEED,
        "rounds": arguments.rounds,
    }
    with tempfile.TemporaryDirectory(prefix="loupe-encoder-") as scratch:
        folders = {name: locate(name) for name in arguments.bundle or (*BUNDLED, *pulled_names())}
        folders |= {} if arguments.no_random else _random_clip(Path(scratch))
        rows = preprocessing(arguments.rounds, SEED)
        rows += encoding(folders, arguments.rounds, SEED)
        failed: list[str] = []
        if not arguments.no_serve:
            try:
                served, failed = routed(Path(scratch), arguments.rounds, SEED)
                rows += served
            except DidNotStart as error:  # the results measured so far are kept
                failed = [str(error)]
    result = {**facts, "results": [asdict(row) for row in rows]}
    deliver(arguments, result, "encoder", markdown(facts, rows))
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def _random_clip(scratch: Path) -> dict[str, Path]:
    """Build a ViT-B-32 of random weights as bundles; where this is not possible, say so and return nothing."""
    missing = [name for name in ("torch", "open_clip", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"ViT-B-32 of random weights is left out: {', '.join(missing)} not installed (make test-export has them)",
            file=sys.stderr,
        )
        return {}
    clip, quantize = (importlib.import_module(f"models.export.{name}") for name in ("clip", "quantize"))
    print("building a ViT-B-32 of random weights, fp32 and int8 ...", file=sys.stderr)
    plain, int8 = scratch / "ViT-B-32", scratch / "ViT-B-32-int8"
    clip.build(clip.Source("ViT-B-32", clip.RANDOM, seed=SEED), plain)
    quantize.quantize(plain, int8)
    return {"ViT-B-32 random fp32": plain, "ViT-B-32 random int8": int8}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoder", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds, and a wide spread")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--bundle", action="append", metavar="NAME", help="a name or folder; by default all here")
    parser.add_argument("--no-random", action="store_true", help="without the ViT-B-32 of random weights")
    parser.add_argument("--no-serve", action="store_true", help="without the routed requests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="facts and every row")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="renew the page's part between its marks")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.rounds = QUICK_ROUNDS
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        arguments.no_serve = True  # that part pins gateway and client to separate cores
    return arguments


if __name__ == "__main__":
    sys.exit(main())
