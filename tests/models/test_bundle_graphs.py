"""The bundled graphs compute in fp32, so that their vectors do not hang on the processor.

A graph that rounds its activations to 8 bits turns the last bit of a sum, which differs between processors, into a
whole step of the rounding. ONNX Runtime says in its profile which kernels a run went through and what they were given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from models.bundle import bundled
from tests.models.onnx_bytes import FLOAT, graph, model, node

PRODUCTS = {"Attention", "Conv", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul"}
"""Kernels that multiply matrices in fp32. Others, such as MatMulNBits and MatMulInteger, round to 8 bits first."""
READS_BYTES = {"Cast", "Gather", "Transpose"}
"""Kernels that may be given 8-bit numbers: they look them up, move them, or widen them."""
FEEDS: dict[str, Mapping[str, NDArray[Any]]] = {
    "text.onnx": {"input_ids": np.array([[101, 2054, 2003, 1996, 2561, 102]])},
    "image.onnx": {"pixels": np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)},
}
ROUNDING = model(
    graph(
        [
            node("DynamicQuantizeLinear", ["x"], ["rounded", "scale", "zero"]),
            node("DequantizeLinear", ["rounded", "scale", "zero"], ["y"]),
        ],
        {},
        {"x": (FLOAT, [4])},
        {"y": (FLOAT, [4])},
    )
)


def kernels(path: Path, feeds: Mapping[str, NDArray[Any]], scratch: Path) -> list[tuple[str, set[str], set[str]]]:
    """Each kernel of one run: its name, the types that it was given, and those that it gave."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(scratch / "profile")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    session.run(None, dict(feeds))
    events = json.loads(Path(session.end_profiling()).read_text())
    runs = [event["args"] for event in events if event["name"].endswith("_kernel_time")]
    return [(run["op_name"], _types(run["input_type_shape"]), _types(run["output_type_shape"])) for run in runs]


def rounded(found: list[tuple[str, set[str], set[str]]]) -> list[str]:
    """Names of the kernels that multiply in anything but fp32, or that calculate from or to 8-bit numbers."""
    products = ("MatMul", "Gemm", "Conv", "Attention")
    return [
        name
        for name, given, gave in found
        if (any(part in name for part in products) and name not in PRODUCTS)
        or ({"int8", "uint8"} & (given | gave) and name not in READS_BYTES)
    ]


@pytest.mark.parametrize("name", FEEDS)
def test_no_kernel_of_a_bundled_graph_rounds_to_eight_bits(name: str, tmp_path: Path) -> None:
    found = kernels(bundled("fused-lite") / name, FEEDS[name], tmp_path)
    assert {kind for kind, _, _ in found} & PRODUCTS
    assert rounded(found) == []


def test_a_graph_that_rounds_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "rounding.onnx").write_bytes(ROUNDING)
    found = kernels(tmp_path / "rounding.onnx", {"x": np.arange(4, dtype=np.float32)}, tmp_path)
    assert rounded(found) == ["DynamicQuantizeLinear", "DequantizeLinear"]
    assert rounded([("MatMulNBits", {"float"}, {"float"})]) == ["MatMulNBits"]


def _types(shapes: list[dict[str, Any]]) -> set[str]:
    return {kind for shape in shapes for kind in shape}
