"""Bundles from the CLIPs of open_clip: two ONNX towers, tokenizer, preprocessing, manifest.

This module has its own towers on open_clip's weights, for two reasons. The text tower takes only as many tokens as the
text has (it is causal and pooled at the end token, so padding after that token would change nothing), and the image
tower takes bytes. A bundle is kept only if both towers agree with open_clip's own forward.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import linear, normalize

from models.bundle import BundleError, ImagePart, Manifest, Probes, TextPart
from models.clip_tokenizer import clean, clip_tokenizer
from models.export.probes import TEXTS, seal
from models.export.quantize import quiet

RANDOM = "random"
"""The name for random weights drawn from a seed, instead of pretrained weights, for tests and timing."""
LEAST_COSINE = 0.9995
OPSET = 17
_LICENCES = {"openai": "MIT, Copyright (c) 2021 OpenAI", RANDOM: "none: random weights"}
_UNKNOWN_LICENCE = "see the publisher of these weights"


@dataclass(frozen=True, slots=True)
class Source:
    """The CLIP to build from: open_clip's names of its architecture and weights, and the weights' file, if local."""

    model: str
    pretrained: str
    weights: Path | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """The name of the bundle."""
        return f"{self.model}-{self.pretrained}".replace("/", "-")


def checkpoint(source: Source) -> tuple[str, str] | None:
    """Return the URL and sha256 of the weights; None unless open_clip pins the weights.

    It pins OpenAI's weights, because the hash is part of their address.
    """
    url: str = import_open_clip().get_pretrained_url(source.model, source.pretrained) or ""
    parts = url.split("/")
    pinned = len(parts) > 1 and len(parts[-2]) == 64
    return (url, parts[-2]) if pinned else None


def load(source: Source) -> torch.nn.Module:
    """Return the CLIP in fp32. Raises BundleError for names unknown to open_clip, or weights that do not fit."""
    open_clip = import_open_clip()
    if source.model not in open_clip.list_models():
        raise BundleError(f"open_clip has no model {source.model!r}")
    known = (RANDOM, *open_clip.list_pretrained_tags_by_model(source.model))
    if source.pretrained not in known:
        raise BundleError(f"{source.model} has no weights {source.pretrained!r}; known: {', '.join(known)}")
    try:
        with quiet():
            clip: torch.nn.Module = _created(source)
    except (RuntimeError, OSError, ValueError, KeyError, AttributeError, UnpicklingError) as error:
        raise BundleError(f"the weights of {source.name} cannot be loaded: {error}") from error
    return clip.float().eval()


def build(source: Source, out: Path) -> Manifest:
    """Write the bundle. Raises BundleError for an architecture that these towers do not reproduce."""
    clip = load(source)
    image, text, least = _towers(clip)
    if not least >= LEAST_COSINE:
        raise BundleError(f"{source.model} is of another architecture: cosine {least:.4f} with open_clip's own forward")
    out.mkdir(parents=True, exist_ok=True)
    _export(image, torch.zeros(2, image.side, image.side, 3, dtype=torch.uint8), out / "image.onnx")
    _export(text, torch.ones(2, 9, dtype=torch.long), out / "text.onnx")
    clip_tokenizer().save(str(out / "tokenizer.json"))
    manifest = Manifest(
        name=source.name,
        licence=_LICENCES.get(source.pretrained, _UNKNOWN_LICENCE),
        files={},
        text=TextPart("text.onnx", "tokenizer.json", text.context, {"text": text.dimension}, cleaning="clip"),
        image=ImagePart("image.onnx", image.side, "clip", {"image": image.dimension}),
        probes=Probes((), (), ""),
        source=_said(source, least),
    )
    return seal(out, manifest)


class ClipImageTower(torch.nn.Module):
    """A module from uint8 pixels [n, side, side, 3] to `image` [n, dimension] of norm 1."""

    def __init__(self, visual: torch.nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self.side = int(visual.image_size[0])
        self.dimension = int(visual.proj.shape[1])
        for name in ("mean", "std"):
            values = torch.tensor(getattr(visual, f"image_{name}"))
            self.register_buffer(name, 255 * values.view(3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        visual = self.visual
        inputs = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        patches = visual.conv1(inputs).flatten(2).transpose(1, 2)
        first = visual.class_embedding + torch.zeros_like(patches[:, :1])
        hidden = visual.ln_pre(torch.cat([first, patches], dim=1) + visual.positional_embedding)
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            hidden = _through(block, hidden, hidden, None)
        pooled = _through(last, hidden[:, :1], hidden, None)
        return normalize(visual.ln_post(pooled[:, 0]) @ visual.proj, dim=-1)


class ClipTextTower(torch.nn.Module):
    """A module from token ids [n, tokens], at most `context` tokens, to `text` [n, dimension] of norm 1."""

    def __init__(self, clip: torch.nn.Module) -> None:
        super().__init__()
        self.clip = clip
        self.context = int(clip.context_length)
        self.dimension = int(clip.text_projection.shape[1])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        clip = self.clip
        length = ids.shape[1]
        hidden = clip.token_embedding(ids) + clip.positional_embedding[:length]
        mask = clip.attn_mask[:length, :length]
        *blocks, last = clip.transformer.resblocks
        for block in blocks:
            hidden = _through(block, hidden, hidden, mask)
        end = ids.argmax(dim=-1)  # the end token has the highest id
        marked = hidden[torch.arange(hidden.shape[0]), end].unsqueeze(1)
        pooled = _through(last, marked, hidden, mask[end][:, None, None])
        return normalize(clip.ln_final(pooled[:, 0]) @ clip.text_projection, dim=-1)


def _through(
    block: torch.nn.Module, rows: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Return the output of one transformer block of open_clip for `rows`, which attend to all of `hidden`.

    In the last block only the pooled row is needed, which saves most of the block's work. Shapes stay dynamic when
    this function is traced.
    """
    attention = block.attn
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    asking = block.ln_1(rows)
    asked = asking if rows is hidden else block.ln_1(hidden)
    query, key, value = (
        linear(inputs, weight, bias).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for inputs, weight, bias in zip((asking, asked, asked), weights, biases, strict=True)
    )
    scores = query @ key.transpose(-1, -2) * attention.head_dim**-0.5
    if mask is not None:
        scores = scores + mask
    mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
    rows = rows + block.ls_1(attention.out_proj(mixed))
    return rows + block.ls_2(block.mlp(block.ln_2(rows)))


def _created(source: Source) -> Any:
    open_clip = import_open_clip()
    if source.pretrained == RANDOM:
        torch.manual_seed(source.seed)
        return open_clip.create_model(source.model, force_quick_gelu=True)  # like OpenAI's weights, for timing
    if source.pretrained == "openai" and source.weights is not None:
        return open_clip.load_openai_model(str(source.weights), device="cpu")
    published: Mapping[str, Any] = open_clip.get_pretrained_cfg(source.model, source.pretrained) or {}
    return open_clip.create_model(
        source.model,
        pretrained=str(source.weights or source.pretrained),
        # Weights trained with one activation give wrong vectors, without an error, with the other activation.
        force_quick_gelu=bool(published.get("quick_gelu", False)),
        require_pretrained=True,
    )


def _towers(clip: torch.nn.Module) -> tuple[ClipImageTower, ClipTextTower, float]:
    """Return the towers, and their least cosine with open_clip's forward."""
    try:
        image, text = ClipImageTower(clip.visual).eval(), ClipTextTower(clip).eval()
        return image, text, min(_image_agreement(clip, image), _text_agreement(clip, text))
    except (AttributeError, IndexError, RuntimeError, TypeError) as error:
        raise BundleError(f"only CLIPs of two plain transformers can be exported: {error}") from error


def _image_agreement(clip: Any, tower: ClipImageTower) -> float:
    """Return the least cosine with open_clip's forward, on a ramp and on noise."""
    noise = np.random.default_rng(0).integers(0, 256, (tower.side, tower.side, 3), dtype=np.uint8)
    ramp = np.asarray(Image.linear_gradient("L").resize((tower.side, tower.side)).convert("RGB"))
    pixels = torch.from_numpy(np.stack([noise, ramp]))
    values = (pixels / 255 - torch.tensor(clip.visual.image_mean)) / torch.tensor(clip.visual.image_std)
    with torch.no_grad():
        expected = clip.encode_image(values.permute(0, 3, 1, 2), normalize=True)
        return float((tower(pixels) * expected).sum(dim=-1).min())


def _text_agreement(clip: Any, tower: ClipTextTower) -> float:
    """Return the least cosine with open_clip's forward, which always takes `context` tokens."""
    tokenizer = clip_tokenizer()
    tokenizer.enable_truncation(tower.context)
    cosines = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer.encode(clean(text)).ids])
        padded = torch.nn.functional.pad(ids, (0, tower.context - ids.shape[1]))
        with torch.no_grad():
            cosines.append(float((tower(ids) * clip.encode_text(padded, normalize=True)).sum()))
    return min(cosines)


def _export(tower: ClipImageTower | ClipTextTower, example: torch.Tensor, out: Path) -> None:
    source, view = ("pixels", "image") if isinstance(tower, ClipImageTower) else ("input_ids", "text")
    axes = {source: {0: "batch"}, view: {0: "batch"}}
    if source == "input_ids":
        axes[source][1] = "tokens"
    with quiet():
        torch.onnx.export(
            tower,
            (example,),
            str(out),
            input_names=[source],
            output_names=[view],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,  # the newer exporter needs onnxscript
        )


def _said(source: Source, least: float) -> str:
    weights = f"random weights of seed {source.seed}" if source.pretrained == RANDOM else source.pretrained
    return (
        f"open_clip {import_open_clip().__version__} {source.model}, {weights}; torch {torch.__version__}; "
        f"least cosine with open_clip's forward {least:.6f}"
    )


_OPERATORS = ("nms", "qnms")


_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


_KEPT: list[torch.library.Library] = []
"""Libraries that are kept alive, because the definitions of a library disappear with the library."""


def import_open_clip() -> ModuleType:
    """Return the module `open_clip`. Raises ImportError when open_clip or torchvision is not installed.

    The torchvision of PyPI is built for CUDA. With a torch for CPU, its operators cannot be loaded, and its import
    fails where it registers them. To declare the operators without a body is enough for the import; they are never
    called.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _OPERATORS:
            library.define(operator + _SIGNATURE)
        _KEPT.append(library)
        importlib.import_module("torchvision")
    return importlib.import_module("open_clip")
