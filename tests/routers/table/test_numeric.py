"""Offline tables: what comes back, what is refused, and that the bundled one is whole and holds no text."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import bundled, read_manifest
from routers.table.mmr_csv import read_mmr_csv
from routers.table.numeric import BUNDLED, HEADER, NUMBERS, Offline, OfflineError, load_offline, save_offline
from routers.table.outcome_table import Dataset
from tests.fakes.synthetic import drawn_table
from tests.shared import SHARED_DATA, needs_shared_data


def drawn(name: str = "drawn", *, missing: float = 0.2, seed: int = 0) -> Dataset:
    table, views = drawn_table(groups=6, missing=missing, seed=seed)
    views["image"][:3] = 0.0
    views["image_features"] = np.maximum(views["image_features"], 0.0)
    views["text"][8:] = views["text"][8]
    return Dataset(name, table, views, frozenset({"image", "image_features"}))


def written(folder: Path) -> Offline:
    offline = Offline((drawn(), drawn("second", seed=1)), "an-encoder", "ab" * 32)
    save_offline(offline, folder)
    return offline


def test_outcomes_come_back_to_the_bit(tmp_path: Path) -> None:
    before, after = written(tmp_path), load_offline(tmp_path)
    assert (after.encoder_name, after.encoder_digest) == (before.encoder_name, before.encoder_digest)
    for old, new in zip(before.datasets, after.datasets, strict=True):
        assert (new.name, new.image_views) == (old.name, old.image_views)
        assert new.table.query_ids == old.table.query_ids
        assert new.table.groups == old.table.groups
        assert new.table.candidates == old.table.candidates
        for name, values in old.table.numbers():
            np.testing.assert_array_equal(getattr(new.table, name), values)


def test_views_come_back_to_half_a_step_and_absent_rows_absent(tmp_path: Path) -> None:
    before, after = written(tmp_path), load_offline(tmp_path)
    for old, new in zip(before.datasets, after.datasets, strict=True):
        assert new.views.keys() == old.views.keys()
        for name, rows in old.views.items():
            step = np.concatenate([np.abs(data.views[name]) for data in before.datasets]).max(axis=0) / 127
            assert (np.abs(new.views[name] - rows) <= step / 2 + 1e-6).all()
            assert new.views[name].dtype == np.float32
        assert not new.views["image"][:3].any()


def test_rows_that_are_alike_are_kept_once(tmp_path: Path) -> None:
    written(tmp_path)
    with np.load(tmp_path / NUMBERS, allow_pickle=False) as stored:
        assert len(stored["views/text/codes"]) == 2 * (8 + 1)
        assert stored["views/text/codes"].dtype == np.int8
        assert stored["views/image_features/codes"].dtype == np.uint8


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    written(tmp_path / "one")
    written(tmp_path / "two")
    for name in (HEADER, NUMBERS):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_no_text_is_written(tmp_path: Path) -> None:
    table = replace(drawn().table, questions=("a question that is nobody's business",) * 24)
    save_offline(Offline((replace(drawn(), table=table),), "e", "d"), tmp_path)
    content = (tmp_path / HEADER).read_bytes()
    with zipfile.ZipFile(tmp_path / NUMBERS) as archive:
        content += b"".join(archive.read(name) for name in archive.namelist())
    assert b"nobody" not in content
    assert "nobody".encode("utf-32-le") not in content
    assert set(load_offline(tmp_path).datasets[0].table.questions) == {""}


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: (folder / NUMBERS).unlink(), "offline.npz cannot be read"),
        (lambda folder: (folder / HEADER).unlink(), "offline.json cannot be read"),
        (lambda folder: (folder / NUMBERS).write_bytes((folder / NUMBERS).read_bytes()[:-9]), "altered or cut short"),
        (lambda folder: (folder / HEADER).write_text("{"), "is inconsistent"),
        (lambda folder: (folder / HEADER).write_text("[]"), "is inconsistent"),
        (lambda folder: edit(folder, format=9), "is of format 9"),
        (lambda folder: edit(folder, tables=["third"]), "third"),
    ],
)
def test_what_is_not_whole_is_refused(tmp_path: Path, harm: object, says: str) -> None:
    written(tmp_path)
    assert callable(harm)
    harm(tmp_path)
    with pytest.raises(OfflineError, match=says):
        load_offline(tmp_path)


def test_the_bundled_tables_are_whole_and_small() -> None:
    offline = load_offline()
    assert [(data.name, data.table.score.shape) for data in offline.datasets] == [
        ("DynaMath", (3450, 14)),
        ("BlindTest", (7290, 4)),
    ]
    assert offline.encoder_name == "fused-lite"
    assert offline.encoder_digest == read_manifest(bundled("fused-lite")).digest
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 15e6
    for data in offline.datasets:
        assert set(data.table.questions) == {""}
        assert data.table.mask.all()
        assert all(name.startswith(data.name) for name in (*data.table.query_ids, *data.table.groups))
        assert data.image_views == {"image", "image_features"}
    notice = (BUNDLED / "NOTICE").read_text(encoding="utf-8")
    for word in ("MIT", "Anh M. Nguyen", "DynaMath", "Simulated"):
        assert word in notice


@pytest.mark.slow
@needs_shared_data
def test_the_bundled_outcomes_are_those_of_the_files() -> None:
    header = json.loads((BUNDLED / HEADER).read_text(encoding="utf-8"))
    for data in load_offline().datasets:
        table = read_mmr_csv(SHARED_DATA / f"{data.name}.csv")
        assert table.digest == header["table_sha256"][data.name]
        assert data.table.query_ids == table.query_ids
        assert data.table.groups == table.groups
        for name, values in table.numbers():
            np.testing.assert_array_equal(getattr(data.table, name), values)


def edit(folder: Path, **changes: object) -> None:
    header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
    (folder / HEADER).write_text(json.dumps(header | changes), encoding="utf-8")
