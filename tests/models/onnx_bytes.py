"""Small ONNX models as bytes, written without the package `onnx`, which no runtime of Loupe has."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

FLOAT, INT64 = 1, 7
_OPSET = 17
_TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.int64): INT64}


def node(
    op: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    attributes: Mapping[str, int | list[int] | bytes] | None = None,
) -> bytes:
    """A NodeProto. An attribute of bytes is a graph."""
    parts = [_text(1, name) for name in inputs] + [_text(2, name) for name in outputs] + [_text(4, op)]
    return b"".join(parts) + b"".join(_message(5, _attribute(*item)) for item in (attributes or {}).items())


def graph(
    nodes: Sequence[bytes],
    weights: Mapping[str, np.ndarray],
    inputs: Mapping[str, tuple[int, Sequence[int | str]]],
    outputs: Mapping[str, tuple[int, Sequence[int | str]]],
) -> bytes:
    """A GraphProto; inputs and outputs are name -> (type, shape), where a shape's text is a free dimension."""
    return (
        b"".join(_message(1, one) for one in nodes)
        + _text(2, "drawn")
        + b"".join(_message(5, _tensor(*item)) for item in weights.items())
        + b"".join(_message(11, _value(name, *kind)) for name, kind in inputs.items())
        + b"".join(_message(12, _value(name, *kind)) for name, kind in outputs.items())
    )


def model(body: bytes) -> bytes:
    """A ModelProto around a graph."""
    return _number(1, 8) + _message(7, body) + _message(8, _text(1, "") + _number(2, _OPSET))


def combined_clip(seed: int = 0, dimension: int = 6) -> bytes:
    """A graph of the layout that Optimum gives a CLIP: of an image it sees the mean colour, of a token one of 97."""
    draw = np.random.default_rng(seed)
    kinds, side = 97, 224
    weights = {
        "table": draw.normal(size=(kinds, dimension)).astype(np.float32),
        "kinds": np.array(kinds, dtype=np.int64),
        "columns": np.array([1], dtype=np.int64),
        "colours": draw.normal(size=(3, dimension)).astype(np.float32),
        "bias": draw.normal(size=dimension).astype(np.float32),
    }
    nodes = [
        node("Mod", ["input_ids", "kinds"], ["kind"]),
        node("Gather", ["table", "kind"], ["tokens"]),
        node("Cast", ["attention_mask"], ["mask"], {"to": FLOAT}),
        node("Unsqueeze", ["mask", "last"], ["mask_column"]),
        node("Mul", ["tokens", "mask_column"], ["masked"]),
        node("ReduceSum", ["masked", "columns"], ["pooled"], {"keepdims": 0}),
        node("LpNormalization", ["pooled"], ["text_embeds"], {"axis": 1, "p": 2}),
        node("GlobalAveragePool", ["pixel_values"], ["mean"]),
        node("Flatten", ["mean"], ["colour"]),
        node("MatMul", ["colour", "colours"], ["seen"]),
        node("Add", ["seen", "bias"], ["biased"]),
        node("LpNormalization", ["biased"], ["image_embeds"], {"axis": 1, "p": 2}),
        node("Transpose", ["image_embeds"], ["turned"]),
        node("MatMul", ["text_embeds", "turned"], ["logits_per_text"]),
    ]
    tokens: tuple[int, Sequence[int | str]] = (INT64, ["text_batch", "tokens"])
    return model(
        graph(
            nodes,
            {**weights, "last": np.array([2], dtype=np.int64)},
            {"input_ids": tokens, "pixel_values": (FLOAT, ["image_batch", 3, side, side]), "attention_mask": tokens},
            {
                "logits_per_text": (FLOAT, ["text_batch", "image_batch"]),
                "text_embeds": (FLOAT, ["text_batch", dimension]),
                "image_embeds": (FLOAT, ["image_batch", dimension]),
            },
        )
    )


def _attribute(name: str, value: int | list[int] | bytes) -> bytes:
    if isinstance(value, bytes):
        return _text(1, name) + _message(6, value) + _number(20, 5)
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, 2)
    return _text(1, name) + b"".join(_number(8, item) for item in value) + _number(20, 7)


def _tensor(name: str, array: np.ndarray) -> bytes:
    dims = b"".join(_number(1, size) for size in array.shape)
    return dims + _number(2, _TYPES[array.dtype]) + _text(8, name) + _message(9, array.tobytes()) + _number(14, 0)


def _value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(_message(1, _number(1, size) if isinstance(size, int) else _text(2, size)) for size in shape)
    return _text(1, name) + _message(2, _message(1, _number(1, kind) + _message(2, dims)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += struct.pack("B", value & 127 | 128)
        value >>= 7
    return out + struct.pack("B", value)
