"""What is billed for real rows, beside what the pool says that it counted: with its usage, without it, and cut short.

The pool is the other side of the ledger: it knows what it sent. Its token is four characters of text, its image
`width x height / 750`, so the candidates are told to count images by that formula (Anthropic's), and the rest is our
own count: the text of the prompt by the tokenizer's classes of characters, a reply by four bytes a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from gateway.providers.replay import Faults, ReplayApp, read_table, serving
from gateway.providers.replay.tally import ServedRequest
from tests.e2e.harness.raw_client import RawClient
from tests.e2e.harness.rows import LIST_PRICES, TABLES, Row, draw, list_cost
from tests.e2e.harness.scripted_provider import wait_until
from tests.e2e.harness.site import Site, serving_gateway, settings_for
from tests.shared import SHARED_DATA, needs_shared_data

pytestmark = [pytest.mark.slow, needs_shared_data]

ROWS = 40
NEAR = 0.05
STREAM_S = 3.0
"""How long a reply takes of which the client leaves in the middle."""
LEAVING = 24
EITHER_WAY = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


@dataclass(frozen=True)
class Bill:
    """Nanodollars of one reply: charged, and at the pool's own count."""

    charged: int
    true: int

    @property
    def error(self) -> float:
        return self.charged / self.true - 1


@dataclass
class Replay:
    site: Site
    pool: ReplayApp
    rows: dict[str, list[Row]]

    def asked(self, table: str) -> list[tuple[Row, str]]:
        """Every row of a table with one of its candidates, each as often as the others."""
        rows = self.rows[table]
        return [(row, list(row.cells)[number % len(row.cells)]) for number, row in enumerate(rows)]

    def bill(self, row: Row, candidate: str, stream: bool) -> Bill:
        answer = self.site.chat({"model": candidate, "messages": row.messages, "stream": stream})
        assert answer.status == 200
        request_id = answer.headers["x-request-id"]
        self.site.ledger.assert_settled()
        [entry] = self.site.ledger.entries(request_id)
        assert entry.charge is not None
        assert entry.charge == self.site.ledger.outcome(request_id)["cost_nanousd"]
        return Bill(entry.charge, true_cost(self.pool.counts.log[-1]))


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    folder = tmp_path_factory.mktemp("bills")
    drawn = {table: draw(table, ROWS, 7, folder) for table in TABLES}
    pool = ReplayApp(read_table([path for path, _ in drawn.values()], SHARED_DATA))
    with serving(pool) as url:
        raw = settings_for(folder, f"{url}/v1")
        raw["candidates"] = [
            {
                "name": name,
                "provider": "pool",
                "input_usd_per_mtok": float(prices[0]),
                "output_usd_per_mtok": float(prices[1]),
                "image_tokens": "anthropic_area",
            }
            for name, prices in LIST_PRICES.items()
        ]
        with serving_gateway(raw, folder) as site:
            yield Replay(site, pool, {table: rows for table, (_, rows) in drawn.items()})
            site.assert_no_trace()


def true_cost(served: ServedRequest) -> int:
    return list_cost(served.model, served.prompt_tokens, served.completion_tokens)


@EITHER_WAY
@pytest.mark.parametrize("table", TABLES)
def test_reply_with_usage_is_billed_to_the_nanodollar(replay: Replay, table: str, stream: bool) -> None:
    replay.pool.faults = Faults()
    for row, candidate in replay.asked(table):
        bill = replay.bill(row, candidate, stream)
        assert bill.charged == bill.true


@EITHER_WAY
@pytest.mark.parametrize("table", TABLES)
def test_reply_without_usage_is_billed_nearly_what_the_pool_counted(
    replay: Replay, table: str, stream: bool, record_property: Callable[[str, object], None]
) -> None:
    replay.pool.faults = Faults(no_usage_rate=1.0)
    bills = [replay.bill(row, candidate, stream) for row, candidate in replay.asked(table)]
    record_property(f"bills without usage, {table}, {'streamed' if stream else 'whole'}", summary(bills))
    assert abs(total_error(bills)) <= NEAR
    assert sorted(abs(bill.error) for bill in bills)[int(len(bills) * 0.9)] <= NEAR


def test_stream_that_its_client_leaves_is_billed_nearly_what_was_sent_by_then(
    replay: Replay, record_property: Callable[[str, object], None]
) -> None:
    replay.pool.faults = Faults(latency_s=STREAM_S)
    asked = [each for each in replay.asked("DynaMath") if each[0].cells[each[1]][1] > 16 * 4][:LEAVING]
    before, outcomes = len(replay.pool.counts.log), replay.site.ledger.count()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda each: leave_midway(replay.site, *each), asked))
    wait_until(lambda: len(replay.pool.counts.log) == before + len(asked), "the pool to notice")
    wait_until(lambda: replay.site.ledger.count() == outcomes + len(asked), "outcomes")
    replay.site.ledger.assert_settled()
    served = list(replay.pool.counts.log)[before:]
    assert {each.end for each in served} == {"cancelled"}
    bills = []
    for each in served:
        [entry] = replay.site.ledger.entries(each.as_dict()["headers"]["x-request-id"])
        assert entry.charge is not None
        assert 0 < entry.charge <= entry.amount
        bills.append(Bill(entry.charge, true_cost(each)))
    record_property("bills of streams that were left", summary(bills))
    assert abs(total_error(bills)) <= NEAR


def leave_midway(site: Site, row: Row, candidate: str) -> None:
    """Hang up when two pieces of the text have come."""
    with RawClient(site) as client:
        client.ask({"model": candidate, "messages": row.messages, "stream": True})
        client.read_times(b'"content":"', 3)  # the first is empty


def total_error(bills: Sequence[Bill]) -> float:
    return sum(bill.charged for bill in bills) / sum(bill.true for bill in bills) - 1


def summary(bills: Sequence[Bill]) -> str:
    errors = sorted(abs(bill.error) for bill in bills)
    return (
        f"{total_error(bills):+.2%} in all of {len(bills)}, a reply {errors[len(errors) // 2]:.2%} (median), "
        f"{errors[int(len(errors) * 0.9)]:.2%} (90th percentile), {errors[-1]:.2%} (most)"
    )
