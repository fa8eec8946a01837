"""`MatMulNBits` nodes: ONNX Runtime's product with int8 weights, which rounds its input to int8 by blocks of a row."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

BLOCK = 128
_INPUT_IN_INT8 = 4


def packed_matmul(
    node: onnx.NodeProto, values: NDArray[np.int8], scales: NDArray[np.float32], graph: onnx.GraphProto
) -> onnx.NodeProto:
    """Return the node that replaces a MatMul by int8 `values` [K, N] with `scales` [N, K / BLOCK].

    Each block of a column has a scale. The node's weights are added to the graph.
    """
    inner, outer = values.shape
    unsigned = (values.T.astype(np.int16) + 128).astype(np.uint8).reshape(outer, inner // BLOCK, BLOCK)
    names = [f"{node.name}.packed", f"{node.name}.scales"]
    graph.initializer.append(numpy_helper.from_array(unsigned, names[0]))
    graph.initializer.append(numpy_helper.from_array(scales.ravel(), names[1]))
    return helper.make_node(
        "MatMulNBits",
        [node.input[0], *names],
        list(node.output),
        name=node.name,
        domain="com.microsoft",
        K=inner,
        N=outer,
        bits=8,
        block_size=BLOCK,
        accuracy_level=_INPUT_IN_INT8,
    )
