"""Int8 bundles from fp32 bundles; an int8 bundle is kept only where its vectors are nearly the same.

Two methods are tried, in this order:

* `dynamic` (onnxruntime.quantization): rounds weights by column and activations by the range of the whole tensor. This
  is the faster method.
* `blockwise` (`MatMulNBits`): rounds weights and activations by blocks of each row. This method tolerates the few very
  large values that trained transformers have (Dettmers et al. 2022, arXiv:2208.07339), and a row does not change the
  rounding of other rows.

Embedding tables are stored as fp16, because they are looked up and never multiplied.

Both methods round activations, so the vectors differ slightly between kinds of processors: with `blockwise`, MiniLM's
vectors on AVX2 and on AVX512-VNNI had a cosine of 0.999 (`models.export.minilm` says why). A bundle that must give the
same vectors on every processor stays in fp32. `python -m benchmarks.encoder.processors` compares two processors.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from models.base import Views
from models.bundle import BundleError, Manifest, read_manifest
from models.dual_encoder import DualEncoder
from models.export.int8_matmul import BLOCK, packed_matmul
from models.export.probes import TEXTS, draw_pictures, seal

Method = Literal["dynamic", "blockwise"]
METHODS: tuple[Method, ...] = ("dynamic", "blockwise")
LEAST_COSINE = 0.99
_TABLE_FROM = 1_000_000
"""The least number of values in a table for which storing it as fp16 is worth a cast."""


@dataclass(frozen=True, slots=True)
class Parity:
    """The agreement of an int8 bundle with its fp32 bundle.

    Attributes:
        method: the method of rounding.
        least: the least cosine of each view.
        centred: the least cosines after the mean vector is subtracted. Where all vectors point in nearly one direction,
            as with random weights, the plain cosine shows little.
        holds: whether all of `least` reach the required cosine.
    """

    method: Method
    least: Mapping[str, float]
    centred: Mapping[str, float]
    holds: bool


def quantize(
    source: Path, out: Path, images: Sequence[bytes] = (), *, least: float = LEAST_COSINE
) -> tuple[Manifest, tuple[Parity, ...]]:
    """Write the int8 bundle of `source` to `out`. Returns its manifest, and every method tried; the last was kept.

    The bundle is judged on probe texts and images, and on `images`. Raises BundleError, and writes nothing, when no
    method keeps every view at a cosine of at least `least`.
    """
    plain = DualEncoder.load(source)
    manifest = read_manifest(source)
    with tempfile.TemporaryDirectory() as scratch:
        files = [*images, *_drawn(Path(scratch))]
        expected = _views(plain, files)
        tried: list[Parity] = []
        for method in METHODS:
            folder = Path(scratch) / method
            changed = _write_towers(source, manifest, folder, method)
            found = _views(DualEncoder(changed, folder, threads=1), files)
            tried.append(_parity(method, found, expected, least))
            if tried[-1].holds:
                sealed = seal(folder, replace(changed, source=f"{manifest.source}; int8 by {method}".lstrip("; ")))
                shutil.copytree(folder, out, dirs_exist_ok=True)
                return sealed, tuple(tried)
    said = "; ".join(f"{parity.method} {_listed(parity.least)}" for parity in tried)
    raise BundleError(f"{manifest.name} does not bear int8: least cosines {said}, needed {least}")


def _write_towers(source: Path, manifest: Manifest, folder: Path, method: Method) -> Manifest:
    """Write the graphs and the tokenizer of the new bundle. Returns its manifest, without probes yet."""
    folder.mkdir()
    shutil.copyfile(source / manifest.text.tokenizer, folder / manifest.text.tokenizer)
    for graph in (manifest.text.graph, manifest.image.graph):
        if method == "dynamic":
            _write_dynamic(source / graph, folder / graph)
        else:
            _write_blockwise(source / graph, folder / graph)
    image = replace(manifest.image, per_run=1) if method == "dynamic" else manifest.image
    return replace(manifest, name=f"{manifest.name}-int8", image=image)


def _write_dynamic(source: Path, out: Path) -> None:
    with quiet():  # onnxruntime recommends a preparation that has no effect here
        quantize_dynamic(
            source, out, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"]
        )
    model = onnx.load(out)
    _halve_tables(model.graph)
    onnx.save(model, out)


def _write_blockwise(source: Path, out: Path) -> None:
    model = onnx.load(source)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    same = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    for node in [node for node in graph.node if node.op_type == "MatMul"]:
        tensor = weights.get(same.get(node.input[1], node.input[1]))
        if tensor is None or len(tensor.dims) != 2 or tensor.dims[0] % BLOCK:
            continue
        values, scales = _rounded(numpy_helper.to_array(tensor))
        node.CopyFrom(packed_matmul(node, values, scales, graph))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    _halve_tables(graph)
    _drop_unused(graph)
    onnx.save(model, out)


def _rounded(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return weights [K, N] as int8 of the same shape, and the scales of each column's blocks [N, K / BLOCK]."""
    inner, outer = weights.shape
    blocks = weights.T.reshape(outer, inner // BLOCK, BLOCK)
    scales = np.maximum(np.abs(blocks).max(axis=2) / 127, np.finfo(np.float32).tiny).astype(np.float32)
    values = np.round(blocks / scales[..., np.newaxis]).astype(np.int8)
    return np.ascontiguousarray(values.reshape(outer, inner).T), scales


def _halve_tables(graph: onnx.GraphProto) -> None:
    """Store large fp32 tables that are only looked up as fp16, widened after the look-up."""
    tables = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    for node in [node for node in graph.node if node.op_type == "Gather" and node.input[0] in tables]:
        tensor = tables[node.input[0]]
        if np.prod(tensor.dims) < _TABLE_FROM:
            continue
        halved = f"{node.output[0]}.half"
        values = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        widen = helper.make_node("Cast", [halved], [node.output[0]], to=TensorProto.FLOAT, name=f"{node.name}.widen")
        node.output[0] = halved
        graph.node.insert(list(graph.node).index(node) + 1, widen)
        del tables[tensor.name]


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove the fp32 weights that no node reads any longer, and the Identity nodes that only passed them on."""
    used = {name for node in graph.node if node.op_type != "Identity" for name in node.input}
    used |= {output.name for output in graph.output}
    for node in [node for node in graph.node if node.op_type == "Identity" and node.output[0] not in used]:
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _drawn(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in draw_pictures(folder)]


def _views(encoder: DualEncoder, files: Sequence[bytes]) -> Views:
    return {**encoder.encode_texts(TEXTS), **encoder.encode_images(files)}


def _parity(method: Method, found: Views, expected: Views, needed: float) -> Parity:
    least, centred = {}, {}
    for view, rows in expected.items():
        mean = rows.mean(axis=0)
        least[view], centred[view] = _least(found[view], rows), _least(found[view] - mean, rows - mean)
    return Parity(method, least, centred, holds=min(least.values()) >= needed)


def _least(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float((np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())


def _listed(cosines: Mapping[str, float]) -> str:
    return ", ".join(f"{view} {cosine:.4f}" for view, cosine in cosines.items())


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings, and log lines below ERROR, within the context."""
    threshold = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(threshold)
