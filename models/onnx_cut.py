"""A part of an ONNX graph, as a graph of its own: what some of its outputs need, and nothing else.

ONNX Runtime computes all of a graph whatever is asked of it, so that a CLIP in one file would run both towers for
either. The package `onnx` can cut it, and is no runtime dependency; what is needed of its format is this little
(protobuf's wire format; the field numbers are onnx.proto's).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_ATTRIBUTE_GRAPHS = (6, 11)
_TENSOR_NAME, _TENSOR_EXTERNAL = 8, 13
_VALUE_NAME = 1


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message: its number, its content where it has a length, and all of its bytes."""

    number: int
    content: memoryview
    whole: memoryview


def cut(model: bytes, outputs: Collection[str]) -> bytes:
    """The model with these outputs alone. Raises ValueError when it has not all of them, or is no ONNX model."""
    try:
        fields = list(_fields(memoryview(model)))
        graphs = [field for field in fields if field.number == _MODEL_GRAPH]
        if len(graphs) != 1:
            raise ValueError("it has no graph")
        graph = _cut_graph(graphs[0].content, set(outputs))
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("it breaks off, or is no protobuf") from error
    kept = b"".join(field.whole for field in fields if field.number != _MODEL_GRAPH)
    return kept + _varint(_MODEL_GRAPH << 3 | _LENGTH) + _varint(len(graph)) + graph


def _cut_graph(graph: memoryview, outputs: set[str]) -> bytes:
    fields = list(_fields(graph))
    given = {_name(field, _VALUE_NAME) for field in fields if field.number == _GRAPH_OUTPUT}
    if missing := outputs - given:
        raise ValueError(f"it has no output {', '.join(sorted(missing))}, but {', '.join(sorted(given))}")
    needed = set(outputs)
    nodes: list[_Field] = []
    for field in reversed(fields):  # a graph's nodes stand in the order in which they can be computed
        if field.number == _GRAPH_NODE and needed.intersection(_strings(field.content, _NODE_OUTPUT)):
            needed.update(_reads(field.content))
            nodes.append(field)
    kept = [field for field in fields if _is_kept(field, needed, outputs)]
    return b"".join(field.whole for field in [*reversed(nodes), *kept])


def _is_kept(field: _Field, needed: set[str], outputs: set[str]) -> bool:
    if field.number == _GRAPH_INITIALIZER:
        if any(part.number == _TENSOR_EXTERNAL for part in _fields(field.content)):
            raise ValueError("its weights are in other files")
        return _name(field, _TENSOR_NAME) in needed
    if field.number == _GRAPH_INPUT:
        return _name(field, _VALUE_NAME) in needed
    if field.number == _GRAPH_OUTPUT:
        return _name(field, _VALUE_NAME) in outputs
    return field.number not in (_GRAPH_NODE, _GRAPH_VALUE_INFO)  # the latter only repeats what can be inferred


def _reads(node: memoryview) -> set[str]:
    """Names that a node reads, those inside the graphs it carries (If, Loop) with them."""
    names = set(_strings(node, _NODE_INPUT))
    for attribute in (field for field in _fields(node) if field.number == _NODE_ATTRIBUTE):
        for inner in (field for field in _fields(attribute.content) if field.number in _ATTRIBUTE_GRAPHS):
            for field in _fields(inner.content):
                if field.number == _GRAPH_NODE:
                    names |= _reads(field.content)
                elif field.number == _GRAPH_OUTPUT:
                    names.add(_name(field, _VALUE_NAME))
    return names


def _strings(message: memoryview, number: int) -> list[str]:
    return [str(field.content, "utf-8") for field in _fields(message) if field.number == number]


def _name(field: _Field, number: int) -> str:
    return next(iter(_strings(field.content, number)), "")


def _fields(message: memoryview) -> Iterator[_Field]:
    position = 0
    while position < len(message):
        start = position
        tag, position = _read_varint(message, position)
        wire, content = tag & 7, message[:0]
        if wire == _VARINT:
            _, position = _read_varint(message, position)
        elif wire == _LENGTH:
            length, position = _read_varint(message, position)
            content = message[position : position + length]
            position += length
        elif wire in (_FIXED64, _FIXED32):
            position += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"it is no protobuf: wire type {wire}")
        if position > len(message):
            raise IndexError("a field ends beyond its message")
        yield _Field(tag >> 3, content, message[start:position])


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
