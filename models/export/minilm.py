"""The text tower of `fused-lite`: all-MiniLM-L6-v2 with int8 weights, computed in fp32.

The weights are stored as int8 with one scale for each output column, and are widened to fp32 when the graph is loaded.
Activations are never rounded to integers. For this reason the vectors are the same on every processor: two processors
add the same fp32 numbers in a different order, so their sums differ in the last bits, and a graph that rounds its
activations to int8 turns such a last bit into a whole step of the rounding, layer after layer. With `MatMulNBits`
(accuracy level 4) single products agreed within 0.00005 of their mean size on AVX2, on AVX512-VNNI and with exact
integers in numpy, so none was saturated and seven-bit weights would not have helped; but the cosine between the vectors
of whole texts fell to 0.999. `python -m benchmarks.encoder.processors` compares two processors.

The operators are ONNX Runtime's fused operators (domain `com.microsoft`). With AVX512-VNNI, a text of 150 words takes a
sixth less time than the unfused graph took in int8, a text of 40 words takes the same time, and a text of ten words
takes a millisecond or two more, because the graph has to read four times the bytes of weights. With AVX2, the two
longer texts take a third and a sixth less.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

HEADS = 12
LAYERS = 6
WIDTH = 384
EPSILON = 1e-12
OPSET = 17
FUSED = "com.microsoft"
_PRODUCTS = ("query", "key", "value", "attended", "inner", "outer")
"""The products of a layer, in the order in which the published graph multiplies by their weights."""


@dataclass(frozen=True, slots=True)
class Int8Matrix:
    """An int8 matrix and the fp32 scales of its columns or rows; values times scales give the real matrix."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MiniLM:
    """The published weights: those of each layer's products, in order, and all others by name."""

    tables: dict[str, Int8Matrix]
    products: tuple[dict[str, Int8Matrix], ...]
    plain: dict[str, NDArray[np.float32]]


def read_published(path: Path) -> MiniLM:
    """Read the weights out of the published int8 graph.

    Raises ValueError when the graph does not multiply by as many int8 weights as MiniLM has.
    """
    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    widened = [node.input[1] for node in graph.node if node.op_type == "MatMul" and f"{node.input[1]}_q" in arrays]
    if len(widened) != LAYERS * len(_PRODUCTS):
        raise ValueError(f"{path.name} multiplies by {len(widened)} int8 weights, not {LAYERS * len(_PRODUCTS)}")
    quantised = {
        name.removesuffix("_q"): Int8Matrix(values, arrays[f"{name.removesuffix('_q')}_scale"])
        for name, values in arrays.items()
        if values.dtype == np.int8
    }
    return MiniLM(
        tables={kind: quantised[f"inner.embeddings.{kind}_embeddings.weight"] for kind in ("word", "position")},
        products=tuple(
            {part: quantised[widened[layer * len(_PRODUCTS) + place]] for place, part in enumerate(_PRODUCTS)}
            for layer in range(LAYERS)
        ),
        plain={name: values for name, values in arrays.items() if values.dtype == np.float32},
    )


def text_graph(weights: MiniLM) -> onnx.ModelProto:
    """Build the graph: `input_ids` [n, tokens] without padding in, `text` [n, 384] of norm 1 out."""
    draft = _Draft()
    hidden = _embedded(draft, weights)
    for number, products in enumerate(weights.products):
        hidden = _layer(draft, weights.plain, products, f"inner.encoder.layer.{number}", hidden)
    # The normalisation removes the divisor of a mean, so a sum is enough.
    pooled = draft.add("ReduceSum", [hidden, draft.constant("token_axis", np.array([1]))], "pooled", keepdims=0)
    draft.add("LpNormalization", [pooled], "text", axis=1, p=2)
    graph = helper.make_graph(
        draft.nodes,
        "all-MiniLM-L6-v2",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("text", TensorProto.FLOAT, ["batch", WIDTH])],
        draft.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="loupe")
    onnx.checker.check_model(model)
    return model


@dataclass(frozen=True, slots=True)
class _Draft:
    """A graph under construction: its nodes and weights."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        """Append a node of one output; return the output's name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """Store an array; return its name."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def widened(self, name: str, matrix: Int8Matrix) -> str:
        """Store an int8 matrix, and multiply it by its scales when the graph is loaded; return the product's name."""
        stored = self.constant(f"{name}.int8", matrix.values)
        cast = self.add("Cast", [stored], f"{name}.cast", to=TensorProto.FLOAT)
        return self.add("Mul", [cast, self.constant(f"{name}.scale", matrix.scales)], name)


def _embedded(draft: _Draft, weights: MiniLM) -> str:
    """Sum the embeddings of words, positions and the only segment, and normalise the sum."""
    plain = weights.plain
    word, position = weights.tables["word"], weights.tables["position"]
    # Only the rows that a text needs are widened, not the whole table of 30,522 words.
    rows = draft.add("Gather", [draft.constant("word.int8", word.values), "input_ids"], "word.rows")
    scales = draft.add("Gather", [draft.constant("word.scale", word.scales), "input_ids"], "word.row_scales")
    words = draft.add("Mul", [draft.add("Cast", [rows], "word.cast", to=TensorProto.FLOAT), scales], "words")
    shape = draft.add("Shape", ["input_ids"], "length", start=1, end=2)
    start = draft.constant("zero", np.array([0]))
    table = draft.widened("position", position)
    places = draft.add("Slice", [table, start, shape, start], "places")
    segment = draft.constant("segment", plain["inner.embeddings.token_type_embeddings.weight"][0])
    placed = draft.add("Add", [draft.add("Add", [words, segment], "segmented"), places], "placed")
    return draft.add(
        "LayerNormalization",
        [placed, *_norm(draft, plain, "inner.embeddings")],
        "embedded",
        axis=-1,
        epsilon=EPSILON,
    )


def _layer(
    draft: _Draft, plain: dict[str, NDArray[np.float32]], products: dict[str, Int8Matrix], name: str, hidden: str
) -> str:
    """Add one layer of the transformer after `hidden`; return the name of its output."""
    parts = [products[part] for part in ("query", "key", "value")]
    together = Int8Matrix(
        np.concatenate([part.values for part in parts], axis=1),
        np.concatenate([part.scales for part in parts], axis=1),
    )
    biases = [plain[f"{name}.attention.self.{part}.bias"] for part in ("query", "key", "value")]
    mixed = draft.add(
        "Attention",
        [hidden, draft.widened(f"{name}.qkv", together), draft.constant(f"{name}.qkv.bias", np.concatenate(biases))],
        f"{name}.mixed",
        domain=FUSED,
        num_heads=HEADS,
    )
    output = f"{name}.attention.output"
    product = draft.add("MatMul", [mixed, draft.widened(output, products["attended"])], f"{output}.product")
    attended = _added(draft, plain, output, (product, hidden))
    inner = f"{name}.intermediate"
    product = draft.add("MatMul", [attended, draft.widened(inner, products["inner"])], f"{inner}.product")
    bias = draft.constant(f"{inner}.bias", plain[f"{inner}.dense.bias"])
    active = draft.add("BiasGelu", [product, bias], f"{inner}.active", domain=FUSED)
    outer = f"{name}.output"
    product = draft.add("MatMul", [active, draft.widened(outer, products["outer"])], f"{outer}.product")
    return _added(draft, plain, outer, (product, attended))


def _added(draft: _Draft, plain: dict[str, NDArray[np.float32]], name: str, terms: tuple[str, str]) -> str:
    """Add a product, its bias and the skip connection, and normalise the sum."""
    bias = draft.constant(f"{name}.bias", plain[f"{name}.dense.bias"])
    inputs = [*terms, *_norm(draft, plain, name), bias]
    return draft.add("SkipLayerNormalization", inputs, f"{name}.sum", domain=FUSED, epsilon=EPSILON)


def _norm(draft: _Draft, plain: dict[str, NDArray[np.float32]], name: str) -> list[str]:
    return [
        draft.constant(f"{name}.LayerNorm.{part}", plain[f"{name}.LayerNorm.{part}"]) for part in ("weight", "bias")
    ]
