"""Embedding a table: each content once, kept in a file, and refusals that name the file at fault."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gateway.errors import ConfigError
from gateway.outcomes.embeddings import Embeddings
from routers.table.outcome_table import OutcomeTable
from tests.fakes.encoder import FakeEncoder
from tests.fakes.synthetic import drawn_table


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


def table_with_images(folder: Path) -> OutcomeTable:
    """Eight queries on two distinct images under three names; the last query has none."""
    table, _ = drawn_table(groups=2)
    for name, colour in (("a.png", "red"), ("b.png", "blue"), ("copy-of-a.png", "red")):
        file = BytesIO()
        Image.new("RGB", (8, 8), colour).save(file, "PNG")
        (folder / name).write_bytes(file.getvalue())
    names = ("a.png", "b.png", "copy-of-a.png", "a.png", "b.png", "a.png", "b.png")
    return replace(table, image_paths=(*(folder / name for name in names), None), questions=("same",) * 8)


def test_each_content_is_encoded_once(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    views = Embeddings(encoder).views(table_with_images(tmp_path), quiet)
    assert encoder.text_batches == [["same"]]
    assert [len(batch) for batch in encoder.image_batches] == [2]
    assert {name: rows.shape for name, rows in views.items()} == {
        "text": (8, 384),
        "image": (8, 384),
        "image_features": (8, 1280),
    }
    np.testing.assert_array_equal(views["image"][0], views["image"][2])
    assert not np.array_equal(views["image"][0], views["image"][1])
    assert not views["image_features"][7].any()


def test_what_was_kept_is_not_encoded_again(tmp_path: Path) -> None:
    table = table_with_images(tmp_path)
    first = Embeddings(FakeEncoder())
    views = first.views(table, quiet)
    first.save(tmp_path / "kept.npz")
    encoder = FakeEncoder(fail=True)
    second = Embeddings(encoder)
    second.load(tmp_path / "kept.npz")
    for name, rows in second.views(table, quiet).items():
        np.testing.assert_array_equal(rows, views[name])
    assert not encoder.text_batches


def test_embeddings_of_another_encoder_are_refused(tmp_path: Path) -> None:
    Embeddings(FakeEncoder()).save(tmp_path / "kept.npz")
    other = FakeEncoder()
    other.digest = "0" * 64
    with pytest.raises(ConfigError, match="another encoder's"):
        Embeddings(other).load(tmp_path / "kept.npz")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut", b"\x93NUMPY\x01\x00"])
def test_file_that_holds_no_embeddings_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kept.npz").write_bytes(content)
    with pytest.raises(ConfigError, match="not a file of embeddings"):
        Embeddings(FakeEncoder()).load(tmp_path / "kept.npz")


def test_array_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "kept.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ConfigError, match="not a file of embeddings"):
        Embeddings(FakeEncoder()).load(tmp_path / "kept.npz")


def test_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    table = table_with_images(tmp_path)
    (tmp_path / "b.png").write_bytes(b"not an image")
    with pytest.raises(ConfigError, match=r"b\.png: the image cannot be decoded"):
        Embeddings(FakeEncoder()).views(table, quiet)


def test_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    table = table_with_images(tmp_path)
    (tmp_path / "b.png").unlink()
    with pytest.raises(ConfigError, match=r"b\.png cannot be read"):
        Embeddings(FakeEncoder()).views(table, quiet)
