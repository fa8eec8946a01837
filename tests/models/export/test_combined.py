"""A CLIP in one ONNX file becomes a bundle of two towers, or is refused with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.bundle import BundleError, read_manifest
from models.clip_tokenizer import clip_tokenizer
from models.dual_encoder import DualEncoder
from models.export.combined import MEAN, STD, assemble
from models.image_preprocessing import to_pixels
from models.onnx_session import Session
from tests.checks.encoder_checks import IMAGES
from tests.models.onnx_bytes import FLOAT, INT64, combined_clip, graph, model, node


def assembled(folder: Path, data: bytes | None = None) -> DualEncoder:
    folder.mkdir(exist_ok=True)
    graph_file = folder.with_suffix(".whole")
    graph_file.write_bytes(data or combined_clip())
    assemble(graph_file, folder, name="Combined", licence="none", source="drawn")
    return DualEncoder.load(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("combined")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> DualEncoder:
    return assembled(folder)


def test_towers_give_what_the_whole_graph_gives(encoder: DualEncoder, tmp_path: Path) -> None:
    (tmp_path / "whole.onnx").write_bytes(combined_clip())
    text = "Is this a Photo of Two cats?"
    ids = np.array([clip_tokenizer().encode(text.lower()).ids], dtype=np.int64)
    pixels = (to_pixels(IMAGES[0], 224, fit="clip") / 255 - np.array(MEAN)) / np.array(STD)
    whole = Session(tmp_path / "whole.onnx", threads=1).run(
        {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "pixel_values": pixels.transpose(2, 0, 1)[np.newaxis].astype(np.float32),
        }
    )
    np.testing.assert_allclose(encoder.encode_texts([text])["text"], whole["text_embeds"], atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(IMAGES[:1])["image"], whole["image_embeds"], atol=1e-5)


def test_bundle_says_what_it_is_and_proves_itself(encoder: DualEncoder, folder: Path) -> None:
    assert (encoder.name, encoder.text_dims, encoder.image_dims) == ("Combined", {"text": 6}, {"image": 6})
    manifest = read_manifest(folder)
    assert (manifest.source, manifest.text.cleaning, manifest.image.per_run) == ("drawn", "clip", 1)
    assert len(manifest.probes.texts) >= 4 and len(manifest.probes.images) >= 3


def test_one_image_a_run_gives_what_each_gives_alone(encoder: DualEncoder) -> None:
    alone = np.concatenate([encoder.encode_images([image])["image"] for image in IMAGES])
    np.testing.assert_array_equal(encoder.encode_images(IMAGES)["image"], alone)


def test_file_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"not a CLIP in one ONNX file: .*Wire format was corrupt"):
        assembled(tmp_path / "a", b"no onnx")
    shape: tuple[int, list[int | str]] = (FLOAT, [1])
    with pytest.raises(BundleError, match="its outputs are y, without text_embeds"):
        assembled(tmp_path / "b", model(graph([node("Neg", ["x"], ["y"])], {}, {"x": shape}, {"y": shape})))


@pytest.mark.slow
def test_towers_that_give_no_unit_vectors_are_refused(tmp_path: Path) -> None:
    rows: tuple[int, list[int | str]] = (FLOAT, ["n", "m"])
    weights = {"channels": np.array([1, 2], dtype=np.int64)}
    nodes = [
        node("Cast", ["input_ids"], ["text_embeds"], {"to": FLOAT}),
        node("ReduceSum", ["pixel_values", "channels"], ["image_embeds"], {"keepdims": 0}),
    ]
    inputs = {"input_ids": (INT64, ["n", "m"]), "pixel_values": (FLOAT, ["n", 3, 224, 224])}
    data = model(graph(nodes, weights, inputs, {"text_embeds": rows, "image_embeds": rows}))
    with pytest.raises(BundleError, match="not unit vectors"):
        assembled(tmp_path, data)


def test_each_tower_needs_its_own_inputs_and_less_than_the_whole(folder: Path, encoder: DualEncoder) -> None:
    text, image = (Session(folder / name, threads=1) for name in ("text.onnx", "image.onnx"))
    assert (set(text.inputs), text.outputs) == ({"input_ids", "attention_mask"}, ("text_embeds",))
    assert (set(image.inputs), image.outputs) == ({"pixel_values"}, ("image_embeds",))
    assert (folder / "image.onnx").stat().st_size < len(combined_clip())


def test_graph_that_breaks_off_is_refused(tmp_path: Path) -> None:
    for end in (1, 1_000, len(combined_clip()) - 300):
        with pytest.raises(BundleError, match="not a CLIP in one ONNX file"):
            assembled(tmp_path / str(end), combined_clip()[:end])


def test_tower_that_reads_the_other_ones_input_is_refused(tmp_path: Path) -> None:
    shape: tuple[int, list[int | str]] = (FLOAT, ["n"])
    nodes = [node("Neg", ["pixel_values"], ["text_embeds"]), node("Neg", ["input_ids"], ["image_embeds"])]
    outputs = {"text_embeds": shape, "image_embeds": shape}
    data = model(graph(nodes, {}, {"input_ids": shape, "pixel_values": shape}, outputs))
    with pytest.raises(BundleError, match="not a CLIP in one ONNX file"):
        assembled(tmp_path / "a", data)
