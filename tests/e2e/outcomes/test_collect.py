"""`loupe collect` against a replay pool over real sockets: the table, the money, kills, faults, refusals."""

from __future__ import annotations

import random
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gateway.cli import main
from gateway.providers.replay import Faults
from routers.table.formats import read_table, write_table
from routers.table.parquet import read_embedded
from tests.e2e.harness.collecting import NAMES, REAL_PRICES, Yard, nanodollars, with_input_tokens, write_config, yard
from tests.e2e.harness.processes import running
from tests.e2e.harness.scripted_provider import scripted_provider, wait_until
from tests.e2e.harness.scripts import answer, refuse, wait_then
from tests.shared import SHARED_DATA, needs_shared_data

pytestmark = pytest.mark.slow

SLOW = Faults(latency_s=0.02)


def test_the_table_is_the_source_to_the_nanodollar(tmp_path: Path) -> None:
    with yard(tmp_path, 20) as there:
        status, out, _ = there.run()
        assert status == 0, out
        table = there.assert_whole()
        assert there.pool("requests") == there.pool("completed") == 60
        assert there.billed() == (there.cells_cost(), 0) == (there.pool_bill, 0)
        assert table.source is not None and set(table.source[:, 0]) == {
            *("collect numeric/1", "collect choice/1", "collect exact/1")
        }
        assert table.details["image_sha256"][0] and not table.details["image_sha256"][1]
        manifest = there.manifest
        assert manifest["asks"] == {"sent": 60, "answered": 60, "refused": 0, "failed": 0, "broken": 0, "lost": 0}
        assert manifest["table"]["graders"] == {"numeric/1": 8, "choice/1": 4, "exact/1": 8}
        assert manifest["candidates"]["large"]["prices"] == "set 2.5/10"
        status, out, _ = there.run()
        assert status == 0 and "0 cells to ask" in out
        assert there.pool("requests") == 60


def killed_five_times(there: Yard, *words: str, seed: int, **chosen: str) -> None:
    """Start the command five times, and kill -9 each once 5 to 19 more requests have come to an end."""
    draw = random.Random(seed)
    for _ in range(5):
        process = there.start(*words, **chosen)
        there.until_ended(process, there.ends() + draw.randrange(5, 20))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.communicate()


def test_five_kills_cost_no_more_than_what_was_under_way_and_each_cell_gets_one_answer(tmp_path: Path) -> None:
    """Replies on their way at a kill are lost, asked again, and counted."""
    at_once = 6
    words = ("--concurrency", str(at_once), "--per-candidate", "3")
    with yard(tmp_path, 50, SLOW) as there:
        killed_five_times(there, *words, seed=12)
        status, out, err = there.run(*words)
        assert status == 0, err
        assert "150 cells to ask" not in out
        there.assert_whole()
        answered = [line["end"] for line in there.journal if line.get("outcome") == "answered"]
        asks = there.manifest["asks"]
        assert len(answered) == asks["answered"] == 150, "each cell has one answer"
        assert asks["sent"] == 150 + asks["lost"]
        assert asks["lost"] <= 5 * at_once
        wait_until(lambda: there.pool("completed") >= 150, "the pool's counts")
        assert 150 <= there.pool("requests") <= asks["sent"]
        billed, unknown = there.billed()
        assert billed == there.cells_cost()
        assert billed <= there.pool_bill <= billed + unknown


def test_five_kills_under_a_budget_that_is_too_small_never_spend_more_than_it(tmp_path: Path) -> None:
    words = ("--concurrency", "6", "--per-candidate", "3")
    with yard(tmp_path, 200, SLOW) as there:
        half = there.cells_cost() // 2
        budget = f"{half / 10**9:.9f}"
        killed_five_times(there, *words, seed=11, budget=budget)
        status, _, err = there.run(*words, budget=budget)
        assert status == 1 and "which the budget has no more" in err
        billed, unknown = there.billed()
        assert billed + unknown <= half
        assert there.pool_bill <= half
        assert there.manifest["cells"]["left"] > 0
        assert there.run(*words)[0] == 0
        there.assert_whole()


def test_an_interrupt_finishes_what_is_under_way_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with yard(tmp_path, 40, Faults(latency_s=0.1)) as there:
        process = there.start()
        there.until_ended(process, 10)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "finishing what is under way" in err and "the same command goes on" in err and "Traceback" not in err
        so_far = there.manifest["cells"]
        assert not there.manifest["complete"]
        assert 10 <= so_far["answered"] < 120 == so_far["answered"] + so_far["left"]
        assert there.run()[0] == 0
        there.assert_whole()
        assert there.pool("requests") == there.pool("completed") == 120
        assert there.billed() == (there.pool_bill, 0)


def test_two_interrupts_cut_off_what_is_under_way(tmp_path: Path) -> None:
    with yard(tmp_path, 20, Faults(latency_s=30)) as there:
        process = there.start("--concurrency", "4")
        wait_until(lambda: sum("ask" in line for line in there.journal) == 4, "four requests")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None and "finishing" in process.stderr.readline() + process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 130 and "Traceback" not in err, err
        holds = sum(line["hold"] for line in there.journal if "ask" in line)
        assert there.billed() == (0, holds)
        there.app.faults = Faults()
        assert there.run()[0] == 0
        there.assert_whole()
        assert there.manifest["asks"]["lost"] == 4
        assert there.billed() == (there.cells_cost(), holds)


def test_a_budget_that_runs_out_stops_before_it_is_exceeded_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    with yard(tmp_path, 30) as there:
        half = there.cells_cost() // 2
        status, _, err = there.run(budget=f"{half / 10**9:.9f}")
        assert status == 1
        assert "cells are left (the next may cost " in err and "USD, which the budget has no more" in err
        assert there.billed() == (there.pool_bill, 0)
        held = max(line["hold"] for line in there.journal if "ask" in line)
        assert half - held < there.pool_bill <= half
        cells = there.manifest["cells"]
        assert cells["answered"] == there.pool("requests") and cells["answered"] + cells["left"] == 90
        rows = {line["query"] for line in there.journal if "ask" in line}
        assert cells["answered"] >= 3 * (len(rows) - 1), "row by row: all rows but the last are whole"
        assert there.run()[0] == 0
        there.assert_whole()
        assert there.pool("requests") == 90


@pytest.mark.parametrize("status", [429, 503])
def test_refusals_and_broken_replies_are_asked_again_and_cost_what_is_known(tmp_path: Path, status: int) -> None:
    faults = Faults(fail_rate=0.2, fail_status=status, break_rate=0.1)
    with yard(tmp_path, 30, faults) as there:
        for _ in range(4):  # a cell that lost its reply too often is left to the next run
            code, _, err = there.run("--tries", "12")
            if code == 0:
                break
        assert code == 0, err
        there.assert_whole()
        asks = there.manifest["asks"]
        assert asks["failed"] == there.pool("failed") > 0
        assert asks["broken"] == there.pool("broken") > 0
        assert asks["answered"] == there.pool("completed") == 90
        billed, unknown = there.billed()
        assert billed == there.cells_cost()
        assert billed < there.pool_bill <= billed + unknown


def test_replies_without_usage_are_counted_by_us_and_said_to_be(tmp_path: Path) -> None:
    with yard(tmp_path, 5, Faults(no_usage_rate=1.0)) as there:
        assert there.run()[0] == 0
        assert all(there.manifest["candidates"][name]["metered_by_us"] == 5 for name in NAMES)
        assert there.manifest["cells"]["answered"] == 15


def test_one_bad_row_is_named_and_nothing_is_asked_until_it_may_be_skipped(tmp_path: Path) -> None:
    with yard(tmp_path, 6) as there:
        text = there.source.read_text(encoding="utf-8")
        there.source.write_text(text.replace("What is 3?,Mar", "What is 3?,"), encoding="utf-8")
        status, _, err = there.run()
        assert status == 1
        assert err.startswith("loupe collect: source.csv: 1 bad row(s)\n  row 4: the answer is empty\n")
        assert there.pool("requests") == 0
        status, _, err = there.run("--skip-bad-rows")
        assert status == 0 and "row 4: the answer is empty" in err
        assert there.manifest["dataset"]["bad_rows"] == 1
        assert there.pool("requests") == 15


def test_a_limit_draws_rows_by_its_seed_and_a_larger_one_adds_to_them(tmp_path: Path) -> None:
    with yard(tmp_path, 30) as there:
        assert there.run("--limit", "8", "--seed", "3", candidates=["small"])[0] == 0
        first = {line["query"] for line in there.journal if "ask" in line}
        assert len(first) == 8 and first != {f"q{number}" for number in range(8)}
        assert there.manifest["dataset"]["row_probability"] == 8 / 30
        assert there.run("--limit", "12", "--seed", "3", candidates=["small"])[0] == 0
        assert there.pool("requests") == 12
        assert there.run("--limit", "12", "--seed", "3", candidates=["large", "small"])[0] == 0
        assert there.pool("requests") == 24
        assert first < {line["query"] for line in there.journal if "ask" in line}


def test_a_cell_that_was_asked_otherwise_is_refused(tmp_path: Path) -> None:
    with yard(tmp_path, 3) as there:
        assert there.run()[0] == 0
        status, _, err = there.run("--instruction", "Answer in one word.")
        assert status == 1 and "was asked something else of query" in err and "use another --out" in err
        assert there.pool("requests") == 9


def test_a_second_command_on_a_folder_waits_for_the_first(tmp_path: Path) -> None:
    release = threading.Event()
    with yard(tmp_path, 3) as there, scripted_provider(wait_then(release, answer("Answer: B"))) as provider:
        write_config(tmp_path, provider.url)
        first = there.start(candidates=["small"])
        provider.wait_for_calls(3)
        second = there.start(candidates=["small"])
        assert second.stderr is not None
        assert "waiting for the process that is collecting into this folder" in second.stderr.readline()
        release.set()
        for process, said in ((first, "3 cells to ask"), (second, "0 cells to ask")):
            out, _ = process.communicate(timeout=120)
            assert process.returncode == 0 and said in out
        assert len(provider.calls) == 3


def test_a_candidate_that_always_fails_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    with yard(tmp_path, 30, Faults(fail_rate=1.0, fail_status=500, only=frozenset({"middle"}))) as there:
        status, _, err = there.run("--tries", "2")
        assert status == 1
        assert (
            "middle was asked no more: 10 consecutive cells failed, the last: pool answered 500: injected fault" in err
        )
        assert there.manifest["candidates"]["middle"]["answered"] == 0
        assert there.manifest["candidates"]["large"]["answered"] == 30
        there.app.faults = Faults()
        assert there.run()[0] == 0
        there.assert_whole()


@pytest.mark.parametrize(("status", "requests"), [(401, 1), (404, 1), (400, 10), (403, 10)])
def test_what_no_retry_helps_ends_early(tmp_path: Path, status: int, requests: int) -> None:
    with yard(tmp_path, 20) as there, scripted_provider(refuse(status, "that is not to be had")) as provider:
        write_config(tmp_path, provider.url)
        code, _, err = there.run("--concurrency", "1", candidates=["small"])
        assert code == 1
        assert len(provider.calls) == requests
        assert "small was asked no more" in err
        assert ("that is not to be had" in err) is (status != 401)
        provider.on("small", answer("Answer: B"))
        again = ["--refused-again"] if status in (400, 403) else []
        code, _, err = there.run(*again, candidates=["small"])
        assert code == 0, err
        assert there.manifest["candidates"]["small"]["answered"] == 20


def test_a_key_that_is_not_needed_is_not_asked_for(tmp_path: Path) -> None:
    with yard(tmp_path, 3) as there:
        assert there.run(candidates=["small"])[0] == 0
        status, _, err = there.run(candidates=["elsewhere"])
        assert status == 1 and "NOT_SET is not set" in err
        status, _, err = there.run("--encoder", "none-such", candidates=["small"])
        assert status == 1 and "encoder 'none-such'" in err and there.pool("requests") == 3
        status, _, err = there.run(candidates=["nobody"])
        assert status == 1 and "unknown candidate 'nobody'; known: large, middle, small, elsewhere" in err


@needs_shared_data
@pytest.mark.parametrize("name", ["DynaMath", "BlindTest"])
def test_real_cells_come_back_through_loupe_replay_to_the_nanodollar(tmp_path: Path, name: str) -> None:
    """Real questions, images and outcomes, one row of each of 100 groups; one request in ten is answered 429.

    Input tokens are those that the recorded costs stand for. BlindTest records no answers: the replay invents them.
    """
    table = read_table(SHARED_DATA / f"{name}.csv").select(list(REAL_PRICES))
    first_of_each = sorted({group: row for row, group in reversed(list(enumerate(table.groups)))}.values())
    wanted = with_input_tokens(table.take(first_of_each[:100]))
    source, asked = tmp_path / "source.csv", tmp_path / f"{name}.csv"
    write_table(wanted, source)
    known = tuple(answer or "correct" for answer in wanted.details["answer"])
    write_table(replace(wanted, details={"answer": known}), asked)
    words = ["replay", "--table", source, "--port", "0", "--fail-rate", "0.1", "--fail-status", "429"]
    with running(words, tmp_path / "replay.log") as pool:
        config = write_config(tmp_path, f"http://127.0.0.1:{pool.port}/v1", REAL_PRICES)
        there = Yard(tmp_path, asked, None, config)  # type: ignore[arg-type]
        status, _, err = there.run(candidates=list(REAL_PRICES))
        assert status == 0, err
    found = read_table(there.out)
    right, graded = wanted.score == 1.0, found.score == 1.0
    confusion = {(a, b): int(((right == a) & (graded == b)).sum()) for a in (True, False) for b in (True, False)}
    print(f"\n{name}: (recorded right, graded right) {confusion}; asked again {there.manifest['asks']['failed']}")
    assert confusion[True, True] + confusion[False, False] >= 0.99 * 300
    assert found.query_ids == wanted.query_ids and found.candidates == wanted.candidates
    assert (found.output_tokens == wanted.output_tokens).all()
    assert (np.rint(found.cost_usd * 1e9) == np.rint(wanted.cost_usd * 1e9)).all()
    assert nanodollars(there.manifest["spend"]["billed_usd"]) == round(wanted.cost_usd.sum() * 1e9)


@needs_shared_data
def test_loupe_train_and_bench_run_on_a_collected_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "DynaMath.csv"
    write_table(read_table(SHARED_DATA / "DynaMath.csv").take(range(0, 2_000, 80)), source)
    with running(["replay", "--table", source, "--port", "0"], tmp_path / "replay.log") as pool:
        config = write_config(tmp_path, f"http://127.0.0.1:{pool.port}/v1", REAL_PRICES)
        there = Yard(tmp_path, source, None, config)  # type: ignore[arg-type]
        status, _, err = there.run("--encoder", "fused-lite", candidates=list(REAL_PRICES))
        assert status == 0, err
    embedded = read_embedded(there.out)
    assert embedded is not None and all(len(view) == 25 for view in embedded.views.values())
    assert there.manifest["table"]["encoder"] == {"name": "fused-lite", "digest": embedded.encoder_digest}
    more = ["--table", str(there.out), "--seeds", "1", "--embeddings", str(there.out / "embeddings.npz")]
    assert main(["train", *more, "--out", str(tmp_path / "router"), "--router", "kmeans"]) == 0
    assert main(["bench", *more, "--routers", "kmeans", "--replicates", "20", "--jobs", "1"]) == 0
    assert "kmeans" in capsys.readouterr().out


@needs_shared_data
def test_a_new_candidate_joins_a_table_by_the_rows_it_was_asked_about(tmp_path: Path) -> None:
    """64 drawn rows of a real table, asked of one more candidate, and merged: all else stays as it was."""
    source = SHARED_DATA / "DynaMath.csv"
    table = read_table(source)
    part = tmp_path / "part.csv"
    first_of_each = sorted({group: row for row, group in reversed(list(enumerate(table.groups)))}.values())
    write_table(table.take(first_of_each), part)  # of equal rows a pool replays the first
    with running(["replay", "--table", part, "--port", "0"], tmp_path / "replay.log") as pool:
        config = write_config(tmp_path, f"http://127.0.0.1:{pool.port}/v1", {"new": ("0.4", "0.8")})
        text = config.read_text(encoding="utf-8").replace("name: new", "name: new\n  provider_model: Qwen2-VL-72B")
        config.write_text(text, encoding="utf-8")
        there = Yard(tmp_path, part, None, config)  # type: ignore[arg-type]
        status, _, err = there.run("--limit", "64", candidates=["new"])
        assert status == 0, err
    merged = tmp_path / "merged"
    assert main(["table", "merge", str(part), str(there.out), "--out", str(merged)]) == 0
    found = read_table(merged)
    assert found.candidates == (*table.candidates, "new") and len(found) == 345
    asked = found.mask[:, -1]
    assert asked.sum() == 64
    column = found.candidates.index("Qwen2-VL-72B")
    assert (found.score[asked, -1] == found.score[asked, column]).all()
    assert (found.output_tokens[asked, -1] == found.output_tokens[asked, column]).all()
