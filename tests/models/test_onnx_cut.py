"""A part of a graph computes what the whole computed, needs less, and is refused where it cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.onnx_cut import cut
from models.session import Session
from tests.models.onnx_bytes import FLOAT, combined_clip, graph, model, node

WHOLE = combined_clip()
FEEDS = {
    "input_ids": np.array([[5, 7, 9], [1, 2, 3]], dtype=np.int64),
    "attention_mask": np.array([[1, 1, 0], [1, 1, 1]], dtype=np.int64),
    "pixel_values": np.random.default_rng(1).random((3, 3, 224, 224), dtype=np.float32),
}


def loaded(data: bytes, folder: Path) -> Session:
    (folder / "graph.onnx").write_bytes(data)
    return Session(folder / "graph.onnx", threads=1)


@pytest.mark.parametrize(
    ("output", "needs"), [("text_embeds", {"input_ids", "attention_mask"}), ("image_embeds", {"pixel_values"})]
)
def test_part_needs_its_own_inputs_and_gives_the_same(tmp_path: Path, output: str, needs: set[str]) -> None:
    expected = loaded(WHOLE, tmp_path).run(FEEDS)[output]
    part = loaded(cut(WHOLE, [output]), tmp_path)
    assert set(part.inputs) == needs
    assert part.outputs == (output,)
    np.testing.assert_array_equal(part.run({name: FEEDS[name] for name in needs})[output], expected)


def test_parts_are_smaller_and_all_of_it_is_the_same(tmp_path: Path) -> None:
    parts = [cut(WHOLE, [output]) for output in ("text_embeds", "image_embeds")]
    assert all(len(part) < len(WHOLE) for part in parts)
    whole = loaded(cut(WHOLE, ["logits_per_text", "text_embeds", "image_embeds"]), tmp_path).run(FEEDS)
    for name, rows in loaded(WHOLE, tmp_path).run(FEEDS).items():
        np.testing.assert_array_equal(whole[name], rows)


def test_weight_that_only_an_inner_graph_reads_is_kept(tmp_path: Path) -> None:
    shape: tuple[int, list[int | str]] = (FLOAT, [1])
    branch = graph([node("Add", ["x", "offset"], ["inner"])], {}, {}, {"inner": shape})
    whole = model(
        graph(
            [
                node("Less", ["x", "limit"], ["is_small"]),
                node("If", ["is_small"], ["y"], {"then_branch": branch, "else_branch": branch}),
                node("Mul", ["x", "unused"], ["z"]),
            ],
            {name: np.array([value], dtype=np.float32) for name, value in (("offset", 2), ("limit", 5), ("unused", 7))},
            {"x": shape},
            {"y": shape, "z": shape},
        )
    )
    part = cut(whole, ["y"])
    assert b"unused" not in part
    assert loaded(part, tmp_path).run({"x": np.array([1], dtype=np.float32)})["y"].tolist() == [3.0]


def test_output_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="no output last_hidden_state, but image_embeds, logits_per_text, text_embeds"):
        cut(WHOLE, ["last_hidden_state"])


def test_file_that_is_no_onnx_model_is_refused() -> None:
    for data in (b"", b"<html></html>", b"\x00" * 50, b"\xff" * 50, b"version https://git-lfs"):
        with pytest.raises(ValueError, match="it "):
            cut(data, ["text_embeds"])


def test_weights_in_other_files_are_refused() -> None:
    name = b"\x42\x04bias"  # a tensor's field 8
    elsewhere = b"\x6a\x00"  # its field 13, empty
    outside = model(b"\x2a" + bytes([len(name + elsewhere)]) + name + elsewhere + b"\x62\x03\x0a\x01y")
    with pytest.raises(ValueError, match="its weights are in other files"):
        cut(outside, ["y"])


def test_truncated_model_is_refused_wherever_it_is_cut() -> None:
    for end in range(0, len(WHOLE) - 12, 37):  # the last message says the version alone
        with pytest.raises(ValueError, match="it "):
            cut(WHOLE[:end], ["text_embeds"])
