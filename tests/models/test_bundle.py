"""A bundle that is not exactly what was built, or does not compute what it did, is refused with its reason."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.base import EncodeError, Encoder, Views
from models.bundle import BUNDLED, BundleError, bundled, prove, read_manifest, write_manifest
from models.dual_encoder import DualEncoder
from tests.fakes.encoder import FakeEncoder

MOST_BYTES = 35_000_000
TEXT = {"graph": "text.onnx", "tokenizer": "tokenizer.json", "max_tokens": 256, "dims": {"text": 384}}
IMAGE = {"graph": "image.onnx", "side": 224, "fit": "crop", "dims": {"image": 384, "image_features": 1280}}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundled("fused-lite"), tmp_path / "copy"))


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_encoder_loads_and_is_named_in_the_notice(name: str) -> None:
    assert DualEncoder.load(bundled(name)).name == name
    assert name in (bundled(name).parent / "NOTICE").read_text()


def test_all_bundles_together_stay_small_enough_for_the_repository() -> None:
    files = [path for path in bundled(BUNDLED[0]).parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES


def test_digest_is_the_hash_of_the_manifest() -> None:
    folder = bundled("fused-lite")
    expected = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert DualEncoder.load(folder).digest == expected


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BundleError, match="unknown bundle 'clip'; known: fused-lite"):
        bundled("clip")


def test_refusal_is_an_encode_error() -> None:
    assert issubclass(BundleError, EncodeError)


def test_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["text.onnx", "image.onnx", "tokenizer.json", "probe.png", "probes.npz"])
def test_altered_file_is_refused_by_name(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} is not the file that was bundled"):
        read_manifest(copy)


def test_missing_file_is_refused_by_name(copy: Path) -> None:
    (copy / "image.onnx").unlink()
    with pytest.raises(BundleError, match=r"lacks image\.onnx"):
        read_manifest(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"files": {}},
        {"files": {"../elsewhere": "00"}},
        {"text": {}},
        {"probes": None},
        {"image": {"unknown": 1}},
        {"text": {**TEXT, "cleaning": "thorough"}},
        {"image": {**IMAGE, "fit": "squint"}},
        {"image": {**IMAGE, "mean": [0.5, 0.5, 0.5]}},
        {"image": {**IMAGE, "mean": [0.5], "std": [0.5]}},
        {"image": {**IMAGE, "per_run": 0}},
    ],
    ids=str,
)
def test_manifest_that_makes_no_sense_is_refused(copy: Path, change: dict[str, object]) -> None:
    path = copy / "manifest.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, **change}))
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        read_manifest(copy)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_manifest_that_is_not_an_object_is_refused(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        read_manifest(copy)


def test_manifest_that_is_written_again_keeps_its_bytes(copy: Path) -> None:
    before = (copy / "manifest.json").read_bytes()
    write_manifest(copy, read_manifest(copy))
    assert (copy / "manifest.json").read_bytes() == before


def test_manifest_keeps_what_is_not_usual(copy: Path) -> None:
    manifest = read_manifest(copy)
    image = replace(manifest.image, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3), per_run=1, outputs={"image": "image"})
    text = replace(manifest.text, cleaning="clip", outputs={"text": "text"})
    write_manifest(copy, replace(manifest, image=image, text=text, source="drawn"))
    found = read_manifest(copy)
    assert (found.text, found.source) == (text, "drawn")
    assert (tuple(found.image.mean), tuple(found.image.std)) == (image.mean, image.std)
    assert (found.image.per_run, found.image.outputs) == (1, {"image": "image"})


@pytest.mark.slow
def test_view_that_the_graph_does_not_give_is_named(copy: Path) -> None:
    manifest = read_manifest(copy)
    write_manifest(copy, replace(manifest, text=replace(manifest.text, outputs={"text": "sentence"})))
    with pytest.raises(BundleError, match=r"text\.onnx gives no 'sentence', but text"):
        DualEncoder.load(copy)


@pytest.mark.slow
def test_bundle_that_computes_something_else_is_refused(copy: Path) -> None:
    manifest = read_manifest(copy)
    with np.load(copy / "probes.npz") as stored:
        np.savez(copy / "probes.npz", **{view: -rows for view, rows in stored.items()})
    write_manifest(copy, manifest)
    with pytest.raises(BundleError, match=r"fails its own probes on this machine: cosine -1\.0000"):
        DualEncoder.load(copy)


@pytest.mark.slow
def test_bundle_whose_graph_is_damaged_is_refused(copy: Path) -> None:
    manifest = read_manifest(copy)
    (copy / "image.onnx").write_bytes((copy / "image.onnx").read_bytes()[:100_000])
    write_manifest(copy, manifest)
    with pytest.raises(EncodeError, match=r"image\.onnx cannot be loaded"):
        DualEncoder.load(copy)


class NotANumber(FakeEncoder):
    def encode_texts(self, texts: Sequence[str]) -> Views:
        return {view: rows * np.nan for view, rows in super().encode_texts(texts).items()}


class OtherShape(FakeEncoder):
    def encode_texts(self, texts: Sequence[str]) -> Views:
        return {"text": super().encode_texts(texts)["text"][:, :100]}


class OtherViews(FakeEncoder):
    def encode_texts(self, texts: Sequence[str]) -> Views:
        return {"words": super().encode_texts(texts)["text"]}


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (FakeEncoder(), "fails its own probes"),
        (NotANumber(), "cosine nan"),
        (OtherShape(), "has shape"),
        (OtherViews(), "stores probes of"),
    ],
    ids=["another", "nan", "shape", "views"],
)
def test_encoder_that_does_not_give_the_probes_is_refused(encoder: Encoder, reason: str) -> None:
    folder = bundled("fused-lite")
    with pytest.raises(BundleError, match=reason):
        prove(encoder, folder, read_manifest(folder).probes)
