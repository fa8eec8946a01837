"""The main job on real rows: `loupe train`, `replay` and `serve` as processes, asked by the official client.

The router learns from other groups than those that are asked, so no answer is known to it. The candidates are
simulated: the pool replays the tables' recorded answers and simulated token counts at list prices.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

import openai
import pytest
import yaml

from gateway.config.secrets import hash_key
from gateway.providers.replay import final_answer
from tests.e2e.harness.processes import running, running_gateway
from tests.e2e.harness.rows import LIST_PRICES, TABLES, Row, candidates_of, draw, list_cost
from tests.e2e.harness.site import Site, usd
from tests.shared import SHARED_DATA, needs_shared_data

pytestmark = [pytest.mark.slow, needs_shared_data]

ASKED, LEARNT_FROM, CAPPED = 100, 100, 60
KEYS = {table: f"sk-loupe-acceptance-{table}" for table in TABLES}
QUALITY_WEIGHTS = {"DynaMath": 0.5, "BlindTest": 0.35}
LARGEST_CAP = 12_000_000


@dataclass(frozen=True)
class Served:
    """One reply. Money in nanodollars."""

    row: Row
    candidate: str
    right: bool
    input_tokens: int
    cost: int
    request_id: str


@dataclass(frozen=True)
class Run:
    """What came of asking every row once, and the servers that it was asked of."""

    site: Site
    pool: str
    rows: Mapping[str, list[Row]]
    served: Mapping[str, list[Served]]

    def pool_log(self) -> list[dict[str, Any]]:
        """What the pool says it served, request by request."""
        with urllib.request.urlopen(f"{self.pool}/replay/counts?log=2000", timeout=60) as answer:
            return list(json.load(answer)["log"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("acceptance")
    rows: dict[str, list[Row]] = {}
    tables: list[str | Path] = []
    lessons: list[str | Path] = []
    for table in TABLES:
        path, rows[table] = draw(table, ASKED, 1, folder)
        tables += ["--table", path]
        (folder / "lessons").mkdir(exist_ok=True)
        lessons += ["--table", draw(table, LEARNT_FROM, 2, folder / "lessons", apart_from=rows[table])[0]]
    artifact = folder / "router"
    words = ["train", *lessons, "--images", SHARED_DATA, "--out", artifact, "--seeds", "1"]
    subprocess.run(
        [sys.executable, "-m", "gateway.cli", *map(str, words)], check=True, capture_output=True, timeout=600
    )
    with running(["replay", *tables, "--images", SHARED_DATA, "--port", "0"], folder / "pool.log") as pool:
        config = folder / "gateway.yaml"
        config.write_text(yaml.safe_dump(_config(folder, f"http://127.0.0.1:{pool.port}/v1", artifact)))
        with running_gateway(config, folder) as (_, site):
            served = {table: _ask_all(site, table, rows[table]) for table in TABLES}
            yield Run(site, f"http://127.0.0.1:{pool.port}", rows, served)


@pytest.mark.parametrize("table", TABLES)
def test_routed_score_beats_uniform_choice_at_no_more_spend(run: Run, table: str) -> None:
    served = run.served[table]
    names = candidates_of(table)
    uniform_score = fmean(one.row.cells[name][0] for one in served for name in names)
    uniform_cost = fmean(list_cost(name, one.input_tokens, one.row.cells[name][1]) for one in served for name in names)
    score, cost = fmean(one.right for one in served), fmean(one.cost for one in served)
    print(
        f"{table}: routed {score:.3f} at {cost / 1e9:.6f} USD, uniform {uniform_score:.3f} at {uniform_cost / 1e9:.6f}"
    )
    assert score > uniform_score
    assert cost <= uniform_cost
    assert len({one.candidate for one in served}) > 1, "it chooses by the query"


def test_ledger_is_the_pools_own_count_at_list_prices(run: Run) -> None:
    expected = {}
    for entry in run.pool_log():
        assert entry["end"] == "completed"
        cost = list_cost(entry["model"], entry["prompt_tokens"], entry["completion_tokens"])
        expected[entry["headers"]["x-request-id"]] = cost
    charged = {entry.id.rpartition(".")[0].partition("/")[2]: entry.charge for entry in run.site.ledger.entries()}
    assert charged == expected
    run.site.ledger.assert_settled()
    assert {one.request_id: one.cost for served in run.served.values() for one in served}.items() <= expected.items()
    for table in TABLES:
        usage = run.site.usage(KEYS[table])
        assert usage["held"] == 0
        assert usage["spent"] >= sum(one.cost for one in run.served[table])
    assert sum(run.site.usage(KEYS[table])["spent"] for table in TABLES) == sum(expected.values())


def test_answers_are_those_of_the_table(run: Run) -> None:
    for served in run.served.values():
        wrong = [one.row.id for one in served if one.right != one.row.cells[one.candidate][0]]
        assert wrong == []


def test_caps_are_never_exceeded_over_many_rows(run: Run) -> None:
    draw_cap = random.Random(7)
    statuses, spent, before = [], 0, run.site.usage(KEYS["DynaMath"])["spent"]
    with run.site.client(key=KEYS["DynaMath"]) as client:
        for row in run.rows["DynaMath"][:CAPPED]:
            cap = round(LARGEST_CAP * 10 ** -draw_cap.uniform(0, 3))
            try:
                raw = client.chat.completions.with_raw_response.create(
                    model="auto", messages=row.messages, extra_headers={"X-Budget": usd(cap)}
                )
            except openai.APIStatusError as error:
                statuses.append(error.status_code)
                assert error.code == "budget_infeasible"
                assert Fraction(error.response.headers["x-route-feasible-cost"]) * 10**9 > cap
                continue
            statuses.append(200)
            cost = round(float(raw.headers["x-route-cost"]) * 1e9)
            assert cost <= cap
            spent += cost
    assert set(statuses) == {200, 402}, "the caps are spread over what is feasible and what is not"
    run.site.ledger.assert_settled()
    assert run.site.usage(KEYS["DynaMath"])["spent"] - before == spent


def test_every_request_is_one_log_line_without_its_content(run: Run) -> None:
    lines = [json.loads(line) for line in run.site.request_log.read_text().splitlines()]
    by_id = {line["request_id"]: line for line in lines}
    for served in run.served.values():
        for one in served:
            line = by_id[one.request_id]
            assert (line["candidate"], line["outcome"], line["images"]) == (one.candidate, "ok", 1)
            assert round(line["cost_usd"] * 10**9) == one.cost
    text = run.site.request_log.read_text()
    assert not any(row.question in text for rows in run.rows.values() for row in rows)
    assert "base64" not in text


def _ask_all(site: Site, table: str, rows: list[Row]) -> list[Served]:
    with site.client(key=KEYS[table]) as client, ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda pair: _ask(client, *pair), enumerate(rows)))


def _ask(client: openai.OpenAI, number: int, row: Row) -> Served:
    """Streamed and whole in turn; what the reply says of itself must agree with its headers."""
    if number % 2:
        return _ask_streamed(client, row)
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=row.messages)
    reply = raw.parse()
    assert reply.model == raw.headers["x-route-candidate"]
    assert raw.headers["x-route-reason"] == "routed"
    assert 0 <= float(raw.headers["x-route-quality"]) <= 1
    assert float(raw.headers["x-budget-remaining"]) > 0
    assert reply.usage is not None
    cost = list_cost(reply.model, reply.usage.prompt_tokens, reply.usage.completion_tokens)
    assert raw.headers["x-route-cost"] == usd(cost)
    text = reply.choices[0].message.content or ""
    return _served(row, reply.model, text, reply.usage.prompt_tokens, cost, raw.headers["x-request-id"])


def _ask_streamed(client: openai.OpenAI, row: Row) -> Served:
    stream = client.chat.completions.create(
        model="auto", messages=row.messages, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    (model,) = {chunk.model for chunk in chunks}
    usage = chunks[-1].usage
    assert usage is not None
    route: Any = (chunks[-1].model_extra or {})["x_route"]
    cost = list_cost(model, usage.prompt_tokens, usage.completion_tokens)
    assert round(route["cost_usd"] * 1e9) == cost
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return _served(row, model, text, usage.prompt_tokens, cost, route["request_id"])


def _served(row: Row, model: str, text: str, input_tokens: int, cost: int, request_id: str) -> Served:
    right = final_answer(text) == (row.answer or "correct")
    return Served(row, model, right, input_tokens, cost, request_id)


def _config(folder: Path, pool: str, artifact: Path) -> dict[str, Any]:
    return {
        "server": {"port": 0},
        "store": {"path": str(folder / "loupe.sqlite")},
        "log": {"path": str(folder / "requests.jsonl")},
        "encoder": {"timeout_ms": 20_000},
        "router": {"artifact": str(artifact), "timeout_ms": 20_000},
        "providers": {"pool": {"base_url": pool}},
        "candidates": [
            {
                "name": name,
                "provider": "pool",
                "input_usd_per_mtok": float(price_in),
                "output_usd_per_mtok": float(price_out),
                "image_tokens": image_tokens,
            }
            for name, (price_in, price_out, image_tokens) in LIST_PRICES.items()
        ],
        "tenants": [
            {
                "name": table,
                "keys": [{"sha256": hash_key(KEYS[table])}],
                "budget": {"usd": 50.0},
                "candidates": candidates_of(table),
                "quality_weight": QUALITY_WEIGHTS[table],
            }
            for table in TABLES
        ],
    }
