"""Bundles from one ONNX file of a whole CLIP, as Hugging Face's Optimum exports it.

The file's inputs are `input_ids`, `attention_mask` and `pixel_values`; its outputs are `text_embeds`, `image_embeds`
and logits. The file has neither tokenizer nor preprocessing: these are CLIP's own, which all CLIPs of this layout
share. The file is cut in two, because ONNX Runtime always computes the whole graph, so both towers for either input.
Cutting needs the package `onnx`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx.checker import ValidationError
from onnx.utils import extract_model

from models.bundle import BundleError, ImagePart, Manifest, Probes, TextPart
from models.clip_tokenizer import CONTEXT, clip_tokenizer
from models.export.probes import seal
from models.onnx_session import Session
from models.tokenizer import TextTokenizer

SIDE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
TEXT_INPUTS, IMAGE_INPUTS = ("input_ids", "attention_mask"), ("pixel_values",)
TEXT_OUTPUT, IMAGE_OUTPUT = "text_embeds", "image_embeds"
_NORM_TOLERANCE = 1e-2


def assemble(graph: Path, out: Path, *, name: str, licence: str, source: str) -> Manifest:
    """Write the bundle of a combined graph's file. Raises BundleError when the graph does not have this layout."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        _cut(graph, out / "text.onnx", TEXT_INPUTS, TEXT_OUTPUT)
        _cut(graph, out / "image.onnx", IMAGE_INPUTS, IMAGE_OUTPUT)
    except (ValueError, DecodeError, ValidationError) as error:
        raise BundleError(f"{name} is not a CLIP in one ONNX file: {error}") from error
    clip_tokenizer().save(str(out / "tokenizer.json"))
    dimension = _dimension(out)
    manifest = Manifest(
        name=name,
        licence=licence,
        files={},
        text=TextPart(
            "text.onnx",
            "tokenizer.json",
            CONTEXT,
            {"text": dimension},
            cleaning="clip",
            outputs={"text": TEXT_OUTPUT},
        ),
        image=ImagePart(
            "image.onnx",
            SIDE,
            "clip",
            {"image": dimension},
            mean=MEAN,
            std=STD,
            per_run=1,  # the graph may round by the range of its whole input
            outputs={"image": IMAGE_OUTPUT},
        ),
        probes=Probes((), (), ""),
        source=source,
    )
    return seal(out, manifest)


def _cut(whole: Path, part: Path, inputs: tuple[str, ...], output: str) -> None:
    """Write the part of a graph that computes one output. Raises ValueError, DecodeError and ValidationError."""
    graph = onnx.load(whole, load_external_data=False).graph
    given = {entry.name for entry in graph.output}
    if output not in given:
        raise ValueError(f"its outputs are {', '.join(sorted(given)) or 'none'}, without {output}")
    needed = [entry.name for entry in graph.input if entry.name in inputs]
    extract_model(whole, part, needed, [output])


def _dimension(folder: Path) -> int:
    """Return the dimension of both graphs' vectors, measured on an empty text and a black image.

    Raises BundleError unless both dimensions are equal and the vectors have norm 1.
    """
    text = Session(folder / "text.onnx", threads=1)
    ids = TextTokenizer(folder / "tokenizer.json", CONTEXT).ids("")[np.newaxis]
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    text_row = text.run({name: feeds[name] for name in text.inputs if name in feeds})[TEXT_OUTPUT]
    pixels = np.zeros((1, 3, SIDE, SIDE), dtype=np.float32)
    image_row = Session(folder / "image.onnx", threads=1).run({"pixel_values": pixels})[IMAGE_OUTPUT]
    norms = [float(np.linalg.norm(row)) for row in (text_row, image_row)]
    if text_row.shape != image_row.shape or any(abs(norm - 1) > _NORM_TOLERANCE for norm in norms):
        raise BundleError(f"the towers give {text_row.shape} and {image_row.shape} of norms {norms}, not unit vectors")
    return int(text_row.shape[1])
