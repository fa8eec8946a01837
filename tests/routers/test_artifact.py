"""Artifacts: what was altered, cut short, mixed up or pickled is refused with a clear text."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routers.algorithms.linear_mf import LinearMF
from routers.artifact import (
    HEADER,
    NUMBERS,
    ArtifactError,
    EncoderFacts,
    Provenance,
    bundled,
    learned_from,
    load,
    refuse_misfit,
    save,
)
from tests.fakes.synthetic import drawn_table


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table, views = drawn_table(groups=12)
    folder = tmp_path_factory.mktemp("artifact")
    provenance = Provenance("drawn", table.digest, seeds=(0, 1), metrics={"qnc": float("inf"), "nauc": 0.5})
    save(LinearMF.fit(table, views, encoder_digest="e" * 64), folder, provenance)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def test_header_says_what_the_router_is(folder: Path) -> None:
    header = json.loads((folder / HEADER).read_text())
    assert header["algorithm"] == "linear_mf"
    assert header["candidates"] == [f"candidate-{column}" for column in range(4)]
    assert header["encoder"] == {"name": "drawn", "digest": "e" * 64}
    assert header["seeds"] == [0, 1]
    assert header["metrics"] == {"qnc": None, "nauc": 0.5}
    assert header["hyper_parameters"]["chosen_ridge"] in header["hyper_parameters"]["ridges"]
    assert header["versions"]["numpy"] == np.__version__
    assert sorted(path.name for path in folder.iterdir()) == [HEADER, NUMBERS]


def test_digest_is_that_of_the_header(folder: Path) -> None:
    assert load(folder).digest == hashlib.sha256((folder / HEADER).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", [HEADER, NUMBERS])
def test_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} cannot be read"):
        load(folder)


@pytest.mark.parametrize("keep", [0, 10, 5000])
def test_numbers_cut_short_are_refused(folder: Path, keep: int) -> None:
    (folder / NUMBERS).write_bytes((folder / NUMBERS).read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="altered or cut short"):
        load(folder)


def test_one_flipped_bit_is_refused(folder: Path) -> None:
    content = bytearray((folder / NUMBERS).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / NUMBERS).write_bytes(content)
    with pytest.raises(ArtifactError, match="altered or cut short"):
        load(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "is not valid JSON"),
        (b'{"format": 1', "is not valid JSON"),
        (b"\xff\xff", "is not valid JSON"),
        (b"[]", "does not hold a JSON object"),
        (b"{}", "format None"),
        (b'{"format": 2}', "of format 2; this version reads 1"),
        (b'{"format": 1}', "lacks 'algorithm'"),
    ],
)
def test_broken_header_is_refused(folder: Path, text: bytes, says: str) -> None:
    (folder / HEADER).write_bytes(text)
    with pytest.raises(ArtifactError, match=says):
        load(folder)


def test_edited_header_is_refused(folder: Path) -> None:
    header = json.loads((folder / HEADER).read_text())
    header["candidates"].reverse()
    (folder / HEADER).write_text(json.dumps(header))
    with pytest.raises(ArtifactError, match="its own hash"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda header: header.update(algorithm="astrology"), "unknown algorithm 'astrology'; known:"),
        (lambda header: header["candidates"].pop(), "is inconsistent"),
        (lambda header: header["view_dims"].update(text=13), "is inconsistent"),
        (lambda header: header.update(view_dims=7), "is inconsistent"),
    ],
)
def test_header_that_does_not_fit_its_numbers_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    reseal(folder, change)
    with pytest.raises(ArtifactError, match=says):
        load(folder)


def test_pickled_numbers_are_never_read(folder: Path) -> None:
    numbers = io.BytesIO()
    np.savez(numbers, matrix=np.array([{"a": 1}], dtype=object))
    (folder / NUMBERS).write_bytes(numbers.getvalue())
    digest = hashlib.sha256(numbers.getvalue()).hexdigest()
    reseal(folder, lambda header: header.update(npz_sha256=digest))
    with pytest.raises(ArtifactError, match="is inconsistent"):
        load(folder)


def test_numbers_that_are_not_finite_are_refused(folder: Path) -> None:
    with np.load(folder / NUMBERS, allow_pickle=False) as stored:
        arrays = {name: stored[name].copy() for name in stored.files}
    arrays["matrix"][0, 0] = np.nan
    numbers = io.BytesIO()
    np.savez(numbers, allow_pickle=False, **arrays)
    (folder / NUMBERS).write_bytes(numbers.getvalue())
    digest = hashlib.sha256(numbers.getvalue()).hexdigest()
    reseal(folder, lambda header: header.update(npz_sha256=digest))
    with pytest.raises(ArtifactError, match="'matrix' holds a number that is not finite"):
        load(folder)


@pytest.mark.parametrize("name", ["other", "../artifact", "", "default/x"])
def test_only_bundled_routers_are_found_by_name(name: str) -> None:
    with pytest.raises(ArtifactError, match="unknown bundled router"):
        bundled(name)


def reseal(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Alter a header and give it the hash that fits, as one who knows the format could."""
    header = json.loads((folder / HEADER).read_text())
    del header["sha256"]
    change(header)
    seal = hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
    (folder / HEADER).write_text(json.dumps(header | {"sha256": seal}))


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (EncoderFacts("other", "f" * 64, {"text": 12, "image_features": 20}), "trained on the encoder eeeeeeeeeeee"),
        (EncoderFacts("drawn", "e" * 64, {"image_features": 20}), "view 'text' of 12 numbers; drawn does not give it"),
        (EncoderFacts("drawn", "e" * 64, {"text": 9, "image_features": 20}), "'text' of 12 numbers; drawn gives 9"),
    ],
)
def test_a_router_is_not_used_with_an_encoder_that_it_does_not_fit(folder: Path, facts: EncoderFacts, why: str) -> None:
    with pytest.raises(ArtifactError, match=why):
        refuse_misfit(load(folder), facts)


def test_it_fits_the_encoder_that_it_was_trained_with(folder: Path) -> None:
    refuse_misfit(load(folder), EncoderFacts("drawn", "e" * 64, {"text": 12, "image_features": 20, "more": 1}))


def test_what_it_learned_from_is_told_where_it_was_said(folder: Path, tmp_path: Path) -> None:
    assert learned_from(folder) is None
    table, views = drawn_table(groups=12)
    prints = np.array([7, 2**32 - 1], dtype=np.uint32)
    save(LinearMF.fit(table, views), tmp_path / "more", Provenance("drawn", table.digest, learned_from=prints))
    found = learned_from(tmp_path / "more")
    assert found is not None
    np.testing.assert_array_equal(found, prints)
    assert load(tmp_path / "more").candidates == table.candidates
