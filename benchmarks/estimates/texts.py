"""Compare estimates of text tokens, by class of characters and as bytes over four, with OpenAI's own vocabularies.

    python -m benchmarks.estimates.texts                                 # installs LiteLLM, which has the vocabularies
    python -m benchmarks.estimates.texts --litellm VENV/bin/python --json texts.json
    python -m benchmarks.estimates.texts --data FOLDER                   # and the questions of DynaMath and BlindTest

The vocabularies are `o200k_base` and `cl100k_base` of tiktoken, from LiteLLM's own files, so none is downloaded.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.common.result import command_of, write_json
from benchmarks.estimates.images import installed
from gateway.billing.text_tokens import TOKENIZERS, expected_text_tokens, shape_of
from routers.evaluation.reports.versions import in_words, package_versions

ROOT = Path(__file__).resolve().parents[2]
SEED = 20_261
PIECES = 200
PIECE_CHARACTERS = 1_000
FAMILIES = {"openai_o200k": "o200k_base", "openai_cl100k": "cl100k_base"}
COUNT = r"""
import importlib.util, json, os, pathlib, sys
package = pathlib.Path(importlib.util.find_spec("litellm").origin).parent
os.environ["TIKTOKEN_CACHE_DIR"] = str(package / "litellm_core_utils" / "tokenizers")
import tiktoken
asked = json.load(sys.stdin)
count = lambda name, text: len(tiktoken.get_encoding(name).encode_ordinary(text))
print(json.dumps({name: [count(name, text) for text in asked["texts"]] for name in asked["names"]}))
"""
FOREIGN = {
    "Chinese": "请看这张图表,说明第三季度的收入比第二季度增加了多少,并解释其原因。图中的蓝色柱子表示国内市场。",
    "Japanese": "この図表を見て、第三四半期の売上が前の四半期よりどれだけ増えたかを説明してください。",
    "Korean": "이 도표를 보고 3분기 매출이 2분기보다 얼마나 늘었는지 설명하고 그 이유를 말해 주세요.",
    "Russian": "Посмотрите на диаграмму и объясните, насколько выросла выручка в третьем квартале.",
    "Arabic": "انظر إلى هذا الرسم البياني واشرح كم زادت الإيرادات في الربع الثالث مقارنة بالربع الثاني.",
    "Hindi": "इस चार्ट को देखें और बताएं कि तीसरी तिमाही में राजस्व दूसरी तिमाही की तुलना में कितना बढ़ा।",
    "German": "Wie viele Balken in diesem Diagramm sind höher als der Balken für das Jahr 1998? Bitte kurz begründen.",
}


def texts(data: Path | None) -> dict[str, list[str]]:
    """Return pieces of real texts by kind: the project's pages and code, other languages, and the tables' questions."""
    drawn = random.Random(SEED)
    found = {
        "pages": _pieces(ROOT.glob("*.md"), drawn),
        "code": _pieces((ROOT / "gateway").rglob("*.py"), drawn),
        **{language: [text] for language, text in FOREIGN.items()},
    }
    for name in ("DynaMath", "BlindTest") if data is not None else ():
        assert data is not None
        with (data / f"{name}.csv").open(encoding="utf-8", newline="") as table:
            questions = sorted({row["question"] for row in csv.DictReader(table)})
        found[name] = drawn.sample(questions, min(PIECES, len(questions)))
    return found


def errors(kinds: Mapping[str, Sequence[str]], counted: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    """Return a row per kind and family with the mean errors of both estimates, as shares of each piece's count."""
    rows, start = [], 0
    for kind, pieces in kinds.items():
        for family, vocabulary in FAMILIES.items():
            counts = list(islice(counted[vocabulary], start, start + len(pieces)))
            ours = [TOKENIZERS[family].expected(shape_of([piece])) for piece in pieces]
            plain = [expected_text_tokens(len(piece.encode())) for piece in pieces]
            rows.append({"kind": kind, "family": family, "pieces": len(pieces), "tokens": sum(counts)})
            rows[-1] |= {"ours": _error(ours, counts), "four_bytes": _error(plain, counts)}
            rows[-1] |= {"ours_total": sum(ours) / sum(counts) - 1, "four_bytes_total": sum(plain) / sum(counts) - 1}
        start += len(pieces)
    return rows


def count(python: str, pieces: Sequence[str]) -> dict[str, list[int]]:
    """Return each vocabulary's count of every piece."""
    asked = json.dumps({"names": list(FAMILIES.values()), "texts": pieces})
    done = subprocess.run([python, "-c", COUNT], input=asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"tiktoken failed:\n{done.stderr[-2_000:]}")
    found: dict[str, list[int]] = json.loads(done.stdout)
    return found


def microseconds() -> dict[str, float]:
    """Return the best of seven times for counting the classes of a kilobyte of prose, and for one family's estimate."""
    prose = ("What is the total revenue shown for the third quarter in this chart? " * 16)[:1_024]
    shape, tokenizer = shape_of([prose]), TOKENIZERS["openai_o200k"]
    best = {
        "count_1_kb_us": min(timeit.repeat(lambda: shape_of([prose]), number=5_000, repeat=7)),
        "estimate_us": min(timeit.repeat(lambda: tokenizer.expected(shape), number=5_000, repeat=7)),
    }
    return {name: round(seconds / 5_000 * 1e6, 2) for name, seconds in best.items()}


def _pieces(paths: Any, drawn: random.Random) -> list[str]:
    whole = [path.read_text(encoding="utf-8") for path in sorted(paths)]
    found = [t[i : i + PIECE_CHARACTERS] for t in whole for i in range(0, len(t), PIECE_CHARACTERS)]
    long_enough = [piece for piece in found if len(piece.strip()) > 40]
    return drawn.sample(long_enough, min(PIECES, len(long_enough)))


def _error(estimates: Sequence[int], counts: Sequence[int]) -> float:
    return sum(abs(a - b) / b for a, b in zip(estimates, counts, strict=True)) / len(counts)


def main() -> int:
    """Print the table. Always returns 0, because these are estimates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--litellm", metavar="PYTHON", help="an interpreter that has it")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="of DynaMath.csv and BlindTest.csv")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    kinds = texts(arguments.data)
    with tempfile.TemporaryDirectory(prefix="loupe-litellm-") as folder:
        counted = count(
            arguments.litellm or installed(folder), [piece for pieces in kinds.values() for piece in pieces]
        )
    given = (str(arguments.litellm), str(arguments.data))
    shown = ["PATH" if argument in given else argument for argument in sys.argv[1:]]
    rows = errors(kinds, counted)
    result = {
        "command": command_of("estimates.texts", shown),
        "versions": in_words(package_versions(["loupe"])),
        "seed": SEED,
        **microseconds(),
        "rows": rows,
    }
    for name, value in result.items():
        if name != "rows":
            print(f"{name}: {value}")
    print(f"{'kind':<10} {'family':<14} {'tokens':>8} {'ours':>7} {'total':>7} {'4 bytes':>8} {'total':>7}")
    for row in rows:
        ours, plain = (
            f"{row['ours']:7.1%} {row['ours_total']:+7.1%}",
            f"{row['four_bytes']:8.1%} {row['four_bytes_total']:+7.1%}",
        )
        print(f"{row['kind']:<10} {row['family']:<14} {row['tokens']:>8,} {ours} {plain}")
    write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
