"""Compare the image tokens of Loupe's estimates and of LiteLLM's counter with those that providers publish or bill.

python -m benchmarks.estimates.images                                   # installs LiteLLM in a temporary folder
python -m benchmarks.estimates.images --litellm VENV/bin/python         # uses a LiteLLM that is installed already
python -m benchmarks.estimates.images --litellm none --json images.json
python -m benchmarks.estimates.images --markdown benchmarks/README.md   # renews the table there
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.result import command_of, deliver
from benchmarks.estimates.image_cases import DIFFERENT, PUBLISHED, ImageCase
from gateway.billing.image_tokens import IMAGE_TOKENS
from routers.evaluation.reports.versions import in_words, package_versions

LITELLM = "litellm==1.106.2"
SUBJECTS = {"ours": "Loupe", "litellm": "LiteLLM", "litellm_high": "LiteLLM, asked for `high` where it says `auto`"}
THEIRS = r"""
import base64, json, struct, sys, zlib
import litellm
from importlib.metadata import version

def png(width, height):
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return "data:image/png;base64," + base64.b64encode(data).decode()

def counted(model, content):
    return litellm.token_counter(model=model, messages=[{"role": "user", "content": content}])

found = []
for model, width, height, detail in json.load(sys.stdin):
    text = {"type": "text", "text": "What is shown?"}
    image = {"type": "image_url", "image_url": {"url": png(width, height), "detail": detail}}
    found.append(counted(model, [text, image]) - counted(model, [text]))
print(json.dumps({"version": version("litellm"), "tokens": found}))
"""
"""Code for LiteLLM's interpreter. It prints the tokens that `litellm.token_counter` adds for each image. An image is
only a header, because the header holds the size.
"""


def their_counts(python: str, cases: Sequence[ImageCase]) -> tuple[str, list[int | None]]:
    """Return LiteLLM's version and its count of every case. LiteLLM runs offline: its own data is sufficient."""
    asked = json.dumps([(case.model, case.width, case.height, case.detail) for case in cases])
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-c", THEIRS], input=asked, capture_output=True, text=True, check=False, env={**os.environ, **offline}
    )
    if done.returncode:
        raise SystemExit(f"LiteLLM's counter failed:\n{done.stderr[-2_000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found["version"], found["tokens"]


def compared(cases: Sequence[ImageCase], python: str | None) -> tuple[str, list[dict[str, Any]]]:
    """Return LiteLLM's version, and a row per case: the published count, Loupe's and LiteLLM's.

    `litellm_high` is LiteLLM's count for `high` in place of `auto`, because LiteLLM treats `auto` as `low`.
    """
    name = "not run"
    theirs: list[int | None] = [None] * len(cases)
    at_high = theirs
    if python is not None:
        high = [case._replace(detail="high") if case.detail == "auto" else case for case in cases]
        name, theirs = their_counts(python, cases)
        _, at_high = their_counts(python, high)
    rows = []
    for case, their, their_high in zip(cases, theirs, at_high, strict=True):
        ours = IMAGE_TOKENS[case.family](case.width, case.height, case.detail)
        rows.append({**case._asdict(), "ours": ours, "litellm": their, "litellm_high": their_high})
    return name, rows


def summary(rows: Sequence[dict[str, Any]], who: str) -> dict[str, Any]:
    """Return how many counts are exact, and the errors of all, as shares of the published count."""
    errors = [(row[who] - row["tokens"]) / row["tokens"] for row in rows if row[who] is not None]
    if not errors:
        return {}
    return {
        "cases": len(errors),
        "exact": sum(not error for error in errors),
        "mean_absolute_error": round(sum(map(abs, errors)) / len(errors), 4),
        "least": round(min(errors), 4),
        "greatest": round(max(errors), 4),
    }


def markdown(result: dict[str, Any]) -> str:
    """Return the report: the facts about the run, the table, the sums, and the cases that differ on purpose."""
    lines = [f"* {name}: {result[name]}" for name in ("command", "versions", "seed")]
    lines += [
        "",
        "| family | model | size | detail | published | ours | LiteLLM | source |",
        "|---|---|---|---|--:|--:|--:|---|",
    ]
    lines += [_line(row) for row in result["rows"]]
    for who, called in SUBJECTS.items():
        if found := result[who]:
            span = f"from {found['least']:+.0%} to {found['greatest']:+.0%}"
            what = f"{found['exact']} of {found['cases']} exact, off by {found['mean_absolute_error']:.1%} on average"
            lines += ["", f"{called}: {what}, {span}."]
    lines += ["", "Where our count is not the page's, on purpose:", ""]
    lines += [f"{_line(row)} {row['why']} |" for row in result["different"]]
    return "\n".join(lines) + "\n"


def _line(row: dict[str, Any]) -> str:
    source = f"[{row['how']}]({row['source']})"
    theirs = "" if row["litellm"] is None else f"{row['litellm']:,}"
    size = f"{row['width']}x{row['height']}"
    return (
        f"| {row['family']} | {row['model']} | {size} | {row['detail']} | {row['tokens']:,} | {row['ours']:,} |"
        f" {theirs} | {source} |"
    )


def installed(folder: str) -> str:
    """Install LiteLLM in a new virtual environment in a folder. Returns the environment's interpreter."""
    print(f"installing {LITELLM} in a temporary folder", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(Path(folder) / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", LITELLM], check=True)
    return python


def measure(python: str | None) -> dict[str, Any]:
    """Return the whole result, as it is written to `--json`."""
    differing = [case for case, _ in DIFFERENT]
    cases = [*PUBLISHED, *differing]
    name, rows = compared(cases, python)
    arguments = ["PYTHON" if argument == python else argument for argument in sys.argv[1:]]
    result: dict[str, Any] = {
        "command": command_of("estimates.images", arguments),
        "versions": in_words({**package_versions(["loupe"]), "litellm": name}),
        "seed": "none: nothing is drawn",
        "rows": rows[: len(PUBLISHED)],
        "different": [{**row, "why": why} for row, (_, why) in zip(rows[len(PUBLISHED) :], DIFFERENT, strict=True)],
    }
    return result | {who: summary(result["rows"], who) for who in SUBJECTS}


def main() -> int:
    """Measure, print, and write the results if asked. Returns 1 when an estimate of Loupe's is not exact."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--litellm", metavar="PYTHON", help="an interpreter that has it, or `none`")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loupe-litellm-") as folder:
        python = arguments.litellm or installed(folder)
        result = measure(None if python == "none" else python)
    deliver(arguments, result, "image estimates", markdown(result))
    return int(result["ours"]["exact"] < result["ours"]["cases"])


if __name__ == "__main__":
    raise SystemExit(main())
