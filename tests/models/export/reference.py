"""all-MiniLM-L6-v2 in plain torch, from its published fp32 weights: an independent reference for the text tower."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

HEADS = 12
LAYERS = 6
EPSILON = 1e-12


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The fp32 tensors of a safetensors file: a JSON header with offsets, then the numbers."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    body = bytearray(data[8 + length :])
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            tensors[name] = torch.frombuffer(body[start:end], dtype=torch.float32).reshape(entry["shape"])
    return tensors


class MiniLM:
    """Token ids of one text -> its vector [384], mean pooled and of norm 1."""

    def __init__(self, path: Path) -> None:
        self._weights = read_safetensors(path)

    @torch.no_grad()
    def __call__(self, ids: list[int]) -> torch.Tensor:
        weights = self._weights
        hidden = weights["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + weights["embeddings.position_embeddings.weight"][: len(ids)]
        hidden = self._norm(hidden + weights["embeddings.token_type_embeddings.weight"][0], "embeddings")
        for number in range(LAYERS):
            hidden = self._layer(hidden, f"encoder.layer.{number}")
        mean = hidden.mean(dim=0)
        return mean / mean.norm()

    def _layer(self, hidden: torch.Tensor, name: str) -> torch.Tensor:
        parts = [
            self._linear(hidden, f"{name}.attention.self.{part}").unflatten(1, (HEADS, -1)).transpose(0, 1)
            for part in ("query", "key", "value")
        ]
        mixed = scaled_dot_product_attention(*parts).transpose(0, 1).flatten(1)
        attended = self._linear(mixed, f"{name}.attention.output.dense")
        hidden = self._norm(hidden + attended, f"{name}.attention.output")
        inner = gelu(self._linear(hidden, f"{name}.intermediate.dense"))
        return self._norm(hidden + self._linear(inner, f"{name}.output.dense"), f"{name}.output")

    def _linear(self, values: torch.Tensor, name: str) -> torch.Tensor:
        return linear(values, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, values: torch.Tensor, name: str) -> torch.Tensor:
        scale, shift = (self._weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return layer_norm(values, (values.shape[-1],), scale, shift, EPSILON)
