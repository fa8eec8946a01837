"""A CLIP in one ONNX file, of the layout that the hub's have, gives in two parts what torch gives.

The CLIP is a small one of random weights: nothing of the hub can be had here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from models.base import Encoder
from models.bundle import BundleError
from models.clip_tokenizer import clean, clip_tokenizer
from models.dual_encoder import DualEncoder
from models.export import clip
from models.export.clip import import_open_clip
from models.export.combined import MEAN, STD, assemble
from models.export.quantize import quantize
from models.image_preprocessing import to_pixels
from tests.checks.encoder_checks import ENCODER_CHECKS, IMAGES, TEXTS

DIMENSION, WIDTH = 48, 128
MORE_TEXTS = (*TEXTS, "a photo of a cat", "How many circles intersect the red line?", "2 + 2 = ?")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


class Combined(torch.nn.Module):
    """Inputs and outputs as Optimum names them for a CLIPModel."""

    def __init__(self, published: Any) -> None:
        super().__init__()
        self.text, self.image = clip.ClipTextTower(published), clip.ClipImageTower(published.visual)
        self.image.mean, self.image.std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)  # normalised outside

    def forward(
        self, input_ids: torch.Tensor, pixel_values: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        text_embeds = self.text(input_ids * attention_mask)
        image_embeds = self.image(pixel_values.permute(0, 2, 3, 1))
        logits = text_embeds @ image_embeds.T
        return logits.T, logits, text_embeds, image_embeds


@pytest.fixture(scope="module")
def published() -> Any:
    model = import_open_clip().model
    torch.manual_seed(0)
    vision = model.CLIPVisionCfg(layers=2, width=WIDTH, head_width=32, patch_size=32, image_size=224)
    made = model.CLIP(DIMENSION, vision, model.CLIPTextCfg(width=WIDTH, heads=4, layers=2), quick_gelu=True).eval()
    made.visual.image_mean, made.visual.image_std = MEAN, STD
    return made


@pytest.fixture(scope="module")
def graph(published: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("combined") / "model.onnx"
    texts, images = {0: "text_batch_size", 1: "sequence_length"}, {0: "image_batch_size"}
    torch.onnx.export(
        Combined(published).eval(),
        (torch.ones(2, 9, dtype=torch.long), torch.zeros(2, 3, 224, 224), torch.ones(2, 9, dtype=torch.long)),
        str(path),
        input_names=["input_ids", "pixel_values", "attention_mask"],
        output_names=["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"],
        dynamic_axes={"input_ids": texts, "attention_mask": texts, "pixel_values": images},
        opset_version=clip.OPSET,
        dynamo=False,
    )
    return path


@pytest.fixture(scope="module")
def folder(graph: Path) -> Path:
    out = graph.parent / "bundle"
    assemble(graph, out, name="Combined", licence="none", source="drawn")
    return out


@pytest.fixture(scope="module")
def encoder(folder: Path) -> DualEncoder:
    return DualEncoder.load(folder)


@pytest.fixture(scope="module")
def int8_encoder(graph: Path) -> DualEncoder:
    """Quantised before it is cut, convolution and tables too, as the hub's `model_int8.onnx` are."""
    whole, out = graph.with_name("model_int8.onnx"), graph.parent / "bundle-int8"
    quantize_dynamic(graph, whole, weight_type=QuantType.QInt8)
    assert "ConvInteger" in {node.op_type for node in onnx.load(whole).graph.node}
    assemble(whole, out, name="Combined", licence="none", source="drawn")
    return DualEncoder.load(out)


def expected_texts(published: Any) -> np.ndarray:
    tokenizer = clip_tokenizer()
    tokenizer.enable_truncation(77)
    tokenizer.enable_padding(length=77, pad_id=0)
    ids = torch.tensor([tokenizer.encode(clean(text)).ids for text in MORE_TEXTS])
    with torch.no_grad():
        return np.asarray(published.encode_text(ids, normalize=True).numpy())


def expected_images(published: Any) -> np.ndarray:
    pixels = np.stack([to_pixels(image, 224, fit="clip") for image in IMAGES])
    values = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    with torch.no_grad():
        inputs = torch.tensor(values.transpose(0, 3, 1, 2), dtype=torch.float32)
        return np.asarray(published.encode_image(inputs, normalize=True).numpy())


def test_parts_give_what_torch_gives(published: Any, encoder: DualEncoder) -> None:
    texts, images = expected_texts(published), expected_images(published)
    np.testing.assert_allclose(encoder.encode_texts(MORE_TEXTS)["text"], texts, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(IMAGES)["image"], images, atol=1e-5)


def test_parts_of_an_int8_file_stay_near(
    published: Any, int8_encoder: DualEncoder, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, found, expected in (
        ("text", int8_encoder.encode_texts(MORE_TEXTS)["text"], expected_texts(published)),
        ("image", int8_encoder.encode_images(IMAGES)["image"], expected_images(published)),
    ):
        least = float(np.sum(found * expected, axis=1).min())
        with capsys.disabled():
            print(f"\nsmall CLIP in one int8 file, {name}: least cosine with torch {least:.4f}")
        assert least >= 0.98


@pytest.mark.parametrize("check", ENCODER_CHECKS, ids=lambda check: check.__name__)
def test_int8_bundle_obeys(int8_encoder: DualEncoder, check: Callable[[Encoder], None]) -> None:
    check(int8_encoder)


def test_parts_are_sound_models_of_one_output_each(folder: Path) -> None:
    for name, output, inputs in (
        ("text.onnx", "text_embeds", {"input_ids", "attention_mask"}),
        ("image.onnx", "image_embeds", {"pixel_values"}),
    ):
        part = onnx.load(folder / name)
        onnx.checker.check_model(part, full_check=True)
        assert {entry.name for entry in part.graph.input} == inputs
        assert [entry.name for entry in part.graph.output] == [output]


def test_bundle_that_bears_int8_is_written_and_names_the_way(folder: Path, tmp_path: Path) -> None:
    manifest, tried = quantize(folder, tmp_path / "out")
    assert [parity.method for parity in tried] == ["dynamic"]
    assert manifest.name == "Combined-int8"
    assert manifest.source.endswith("int8 by dynamic")
    DualEncoder.load(tmp_path / "out")
    size = {path: (path / "text.onnx").stat().st_size for path in (folder, tmp_path / "out")}
    assert size[tmp_path / "out"] < 0.55 * size[folder]


def test_bundle_that_does_not_bear_int8_is_refused_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"does not bear int8: .*dynamic .*; blockwise .*, needed 1\.1"):
        quantize(folder, tmp_path / "out", least=1.1)
    assert not (tmp_path / "out").exists()
