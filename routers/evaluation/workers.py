"""Worker processes that run the tasks of a bench, one thread each; results come back in the order of the tasks."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager

from routers.evaluation.bench import BenchBlock, JudgeSettings, PolicyResult, Task, run_task

Told = Callable[[Task, float, int, int], None]
"""A function called after each task with its seconds, the number of finished tasks and the number of all tasks."""

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}  # else a worker looks for Python's own modules in the working directory first


def run_tasks(
    blocks: Sequence[BenchBlock], wanted: Sequence[Task], judging: JudgeSettings, jobs: int, tell: Told
) -> list[PolicyResult]:
    """Return the results of all tasks. With one job, the tasks run in this process."""
    if jobs == 1 or len(wanted) == 1:
        return list(_in_turn(blocks, wanted, judging, tell))
    done: dict[int, list[PolicyResult]] = {}
    # Processes are spawned: a fork would copy locks that are held by threads which do not exist in the new process.
    context = multiprocessing.get_context("spawn")
    with _environment(_ONE_THREAD | _SAFE_PATH):
        pool = ProcessPoolExecutor(jobs, context, _start, (tuple(blocks), judging))
        try:
            number_of = {pool.submit(_run, task): number for number, task in enumerate(wanted)}
            for future in as_completed(number_of):
                number = number_of[future]
                done[number], seconds = future.result()
                tell(wanted[number], seconds, len(done), len(wanted))
        finally:
            pool.shutdown(cancel_futures=True)
    return [judged for number in range(len(wanted)) for judged in done[number]]


def _in_turn(
    blocks: Sequence[BenchBlock], wanted: Sequence[Task], judging: JudgeSettings, tell: Told
) -> Iterator[PolicyResult]:
    for number, task in enumerate(wanted, start=1):
        started = time.monotonic()
        yield from run_task(blocks[task.block], task, judging)
        tell(task, time.monotonic() - started, number, len(wanted))


class _Work:
    """The blocks and settings that a worker process keeps between tasks."""

    blocks: Sequence[BenchBlock]
    judging: JudgeSettings


def _start(blocks: Sequence[BenchBlock], judging: JudgeSettings) -> None:
    _Work.blocks, _Work.judging = blocks, judging


def _run(task: Task) -> tuple[list[PolicyResult], float]:
    started = time.monotonic()
    found = run_task(_Work.blocks[task.block], task, _Work.judging)
    return found, time.monotonic() - started


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these environment variables for the time of the context: libraries read them once, when a process starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
