"""The router that Loupe carries: it fits the encoder it ships with, and its kind beats the best single model."""

from __future__ import annotations

import json
from functools import cache, partial

import numpy as np
import pytest

from gateway.outcomes.embeddings import Embeddings
from models.bundle import bundled as bundled_encoder
from models.bundle import read_manifest
from models.dual_encoder import DualEncoder
from routers.artifact import HEADER, NUMBERS, bundled, load
from routers.registry import ALGORITHMS, DEFAULT
from routers.table.mmr_csv import read_mmr_csv
from routers.table.outcome_table import OutcomeTable, merge
from routers.train import Plan, evaluate
from tests.checks.work import work_of
from tests.shared import SHARED_DATA, needs_shared_data

CANDIDATES_OF_ONE_TABLE = ("InternVL2-8B", "Qwen2-VL-7B", "LLaVA-1.5-7B", "Qwen2-VL-72B")


@cache
def bundled_embeddings() -> Embeddings:
    return Embeddings(DualEncoder.load(bundled_encoder("fused-lite")))


def some_groups(name: str, count: int) -> OutcomeTable:
    """Whole groups of a real table, drawn with a fixed seed."""
    table = read_mmr_csv(SHARED_DATA / f"{name}.csv")
    names = np.unique(np.array(table.groups))
    chosen = set(np.random.default_rng(0).choice(names, count, replace=False).tolist())
    return table.take([row for row, group in enumerate(table.groups) if group in chosen])


def test_bundled_router_is_bound_to_the_bundled_encoder() -> None:
    router, manifest = load(bundled()), read_manifest(bundled_encoder("fused-lite"))
    assert router.encoder_digest == manifest.digest
    dims = {**manifest.text.dims, **manifest.image.dims}
    assert {name: dims[name] for name in router.view_dims} == dict(router.view_dims)


def test_bundled_router_is_small_and_knows_fifteen_candidates() -> None:
    assert sum((bundled() / name).stat().st_size for name in (HEADER, NUMBERS)) < 8_000_000
    assert len(load(bundled()).candidates) == 15


def test_bundled_router_carries_no_text_of_its_tables() -> None:
    with np.load(bundled() / NUMBERS, allow_pickle=False) as stored:
        assert {stored[name].dtype.kind for name in stored.files} <= {"f", "i", "u"}


def test_bundled_router_beat_the_best_single_when_it_was_judged() -> None:
    header = json.loads((bundled() / HEADER).read_text())
    assert header["algorithm"] == DEFAULT
    held_out = header["metrics"]["held_out"]
    assert set(held_out) == {"DynaMath", "BlindTest"}
    for policies in held_out.values():
        assert policies[DEFAULT]["nauc"][0] > policies["best_single"]["nauc"][0] + 0.02
        assert policies[DEFAULT]["log_loss"][0] < policies["best_single"]["log_loss"][0]


@pytest.mark.slow
def test_bundled_router_forecasts_a_query_in_a_thousand_calls_and_many_in_hardly_more() -> None:
    router = load(bundled())
    random = np.random.default_rng(0)
    work = []
    for rows in (1, 100):
        views = {
            name: random.standard_normal((rows, dimension)).astype(np.float32) / dimension**0.5
            for name, dimension in router.view_dims.items()
        }
        router.forecast(views)
        work.append(work_of(partial(router.forecast, views)))
    one, hundred = work
    assert one.calls <= 1_000 and one.lines <= 1_200, one
    assert hundred.calls <= 1.3 * one.calls, "no loop over the queries"
    assert one.peak_bytes < 400_000, "a fraction of the weights' ten megabytes: nothing of them is copied"


@pytest.mark.slow
@needs_shared_data
@pytest.mark.parametrize(("name", "seeds"), [("linear_mf", (0, 1, 2)), (DEFAULT, (0,))])
def test_training_on_part_of_the_real_tables_beats_the_best_single(name: str, seeds: tuple[int, ...]) -> None:
    parts = {"DynaMath": some_groups("DynaMath", 60), "BlindTest": some_groups("BlindTest", 340)}
    table = merge(list(parts.values()))
    views = bundled_embeddings().views(table, lambda what, done, total: None)
    first = np.arange(len(parts["DynaMath"]))
    rows = {"DynaMath": first, "BlindTest": np.arange(len(first), len(table))}
    found = evaluate(ALGORITHMS[name], table, views, Plan(parts=rows, train=0.5, seeds=seeds))
    for part, policies in found.items():
        routed, single = (policies[policy].figures["nauc"][0] for policy in (name, "best_single"))
        assert routed > single, f"{part}: {routed:.3f} against {single:.3f}"


@pytest.mark.slow
@needs_shared_data
def test_candidates_of_one_table_stay_near_their_means_on_the_other() -> None:
    blind = some_groups("BlindTest", 150)
    whole = read_mmr_csv(SHARED_DATA / "DynaMath.csv")
    router = load(bundled())
    quality = router.forecast(bundled_embeddings().views(blind, lambda what, done, total: None)).quality
    for name in CANDIDATES_OF_ONE_TABLE:
        mean = whole.score[:, whole.candidates.index(name)].mean()
        forecast = quality[:, router.candidates.index(name)]
        assert forecast.mean() == pytest.approx(mean, abs=0.1)
        assert (np.abs(forecast - mean) < 0.3).mean() > 0.9
