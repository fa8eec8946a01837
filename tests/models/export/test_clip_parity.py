"""An exported CLIP computes what open_clip computes: its towers, its tokenizer, its preprocessing.

The weights are random (of seed 0): there is no hub here. What such weights make easy and hard is reported: their
image vectors nearly coincide, so that cosines are shown also after the mean vector is taken off.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gateway.cli import main
from models.base import Encoder
from models.bundle import BundleError, read_manifest
from models.clip_tokenizer import MERGES, clean, clip_tokenizer
from models.dual_encoder import DualEncoder
from models.export import clip
from models.export.clip import import_open_clip
from models.image_preprocessing import to_pixels
from models.registry import CATALOGUE
from tests.checks.encoder_checks import ENCODER_CHECKS
from tests.shared import SHARED_DATA, needs_shared_data, shared_images

SOURCE = clip.Source("ViT-B-32", clip.RANDOM)
IMAGES, TEXTS = 40, 60
LEAST, LEAST_INT8 = 0.9995, 0.99
MOST_PIXEL_DIFFERENCE = 1
ODD_TEXTS = [
    "",
    "  ",
    "It's “quoted” ‘text’ — don’t",
    "ＦＵＬＬ　ｗｉｄｔｈ ｶﾞ",
    "ﬁne ﬂuﬀ ŉ ĳ",
    "&lt;b&gt; &amp;amp;lt; &Auml; &notin; &copy AT&T",
    "<b>a &amp; b</b>",
    "你好，世界 12345",
    "naïve café é ÄÖÜ ß İstanbul ΑΣ ſ K",
    "\U0001f600\U0001f680 emoji! \ufeffbom",
    "a\x00b\x07c x\r\ny\u2028z \x1b[31mred\x1b[0m",
    "'S 'RE they'LL you'Ve",
    "½ ² Ⅷ don`t ^ _ {x} $\\frac{a}{b}$",
    "word " * 300,
    "!" * 300,
]

pytestmark = [
    needs_shared_data,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clip") / "plain"
    words = ("--model", SOURCE.model, "--pretrained", SOURCE.pretrained, "--out", str(out))
    assert main(["encoder", "export", *words]) == 0
    return out


@pytest.fixture(scope="module")
def plain(folder: Path) -> DualEncoder:
    return DualEncoder.load(folder)


@pytest.fixture(scope="module")
def int8(folder: Path) -> DualEncoder:
    out = folder.parent / "int8"
    assert main(["encoder", "quantize", str(folder), "--out", str(out), "--images", str(SHARED_DATA)]) == 0
    return DualEncoder.load(out)


@pytest.fixture(scope="module")
def published() -> Any:
    """open_clip's own module of the same weights."""
    return clip.load(SOURCE)


@pytest.fixture(scope="module")
def preprocess(published: Any) -> Any:
    """open_clip's own, a picture to a tensor."""
    transform = import_open_clip().transform
    return transform.image_transform_v2(transform.PreprocessCfg(**published.visual.preprocess_cfg), is_train=False)


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


@pytest.fixture(scope="module")
def expected_texts(published: Any, questions: list[str]) -> NDArray[np.float32]:
    ids = import_open_clip().get_tokenizer(SOURCE.model)(questions)
    with torch.no_grad():
        return np.asarray(published.encode_text(ids, normalize=True).numpy())


@pytest.fixture(scope="module")
def expected_images(published: Any, preprocess: Any, files: list[bytes]) -> NDArray[np.float32]:
    inputs = torch.stack([preprocess(Image.open(BytesIO(file))) for file in files])
    with torch.no_grad():
        return np.asarray(published.encode_image(inputs, normalize=True).numpy())


def test_texts_are_those_of_torch(
    plain: DualEncoder,
    questions: list[str],
    expected_texts: NDArray[np.float32],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(questions) >= 50
    assert report(capsys, "text fp32", plain.encode_texts(questions)["text"], expected_texts) >= LEAST


def test_images_are_those_of_torch_from_the_file_on(
    plain: DualEncoder, files: list[bytes], expected_images: NDArray[np.float32], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(files) >= 20
    assert report(capsys, "image fp32", plain.encode_images(files)["image"], expected_images) >= LEAST


def test_int8_says_nearly_the_same(
    int8: DualEncoder,
    files: list[bytes],
    questions: list[str],
    expected_texts: NDArray[np.float32],
    expected_images: NDArray[np.float32],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert report(capsys, "text int8", int8.encode_texts(questions)["text"], expected_texts) >= LEAST_INT8
    assert report(capsys, "image int8", int8.encode_images(files)["image"], expected_images) >= LEAST_INT8


def test_text_cut_at_its_end_token_is_the_text_in_full_length(
    plain: DualEncoder, published: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = torch.tensor([clip_tokenizer().encode("how many dogs are there?").ids])
    padded = torch.nn.functional.pad(ids, (0, 77 - ids.shape[1]))
    tower = clip.ClipTextTower(published)
    with torch.no_grad():
        difference = float((tower(ids) - tower(padded)).abs().max())
    with capsys.disabled():
        print(f"\ntext of {ids.shape[1]} tokens against the same in 77: greatest difference {difference:.1e}")
    assert difference < 1e-6


def test_token_ids_are_those_of_open_clip(questions: list[str]) -> None:
    for text in [*questions, *ODD_TEXTS]:
        assert our_ids(text) == their_ids(text), text


@settings(max_examples=500, deadline=None)
@given(st.text(st.characters(codec="utf-8", max_codepoint=0x2FFF, exclude_categories=("Cc", "Cn", "Co")), max_size=60))
def test_token_ids_of_drawn_texts_are_those_of_open_clip(text: str) -> None:
    fixed = import_open_clip().tokenizer.ftfy
    if fixed.fix_encoding(text) == text:  # what it takes for text in a wrong encoding stays as it is with us
        assert our_ids(text) == their_ids(text)


def test_merges_are_those_of_open_clip() -> None:
    theirs = import_open_clip().tokenizer.SimpleTokenizer()
    ours = clip_tokenizer()
    assert {token: ours.token_to_id(token) for token in theirs.encoder} == theirs.encoder
    assert MERGES.is_file()


def test_preprocessing_is_that_of_open_clip_to_one_level(preprocess: Any, capsys: pytest.CaptureFixture[str]) -> None:
    named = {"as stored (at most 384 px)": shared_images(IMAGES), "at 1024 px": shared_images(IMAGES)[:20]}
    greatest = {}
    for name, paths in named.items():
        differences = [
            np.abs(to_pixels(data, 224, fit="clip") - their_pixels(data, preprocess))
            for data in (path.read_bytes() if "stored" in name else enlarged(path) for path in paths)
        ]
        greatest[name] = max(float(difference.max()) for difference in differences)
        mean = np.mean([difference.mean() for difference in differences])
        with capsys.disabled():
            print(f"\npreprocessing of JPEG {name}: max {greatest[name]:.2f} of 255, mean {mean:.4f}")
    assert greatest["as stored (at most 384 px)"] <= MOST_PIXEL_DIFFERENCE + 1e-3


@pytest.mark.parametrize("check", ENCODER_CHECKS, ids=lambda check: check.__name__)
def test_exported_encoder_obeys(plain: DualEncoder, check: Callable[[Encoder], None]) -> None:
    check(plain)


@pytest.mark.parametrize("check", ENCODER_CHECKS, ids=lambda check: check.__name__)
def test_quantised_encoder_obeys(int8: DualEncoder, check: Callable[[Encoder], None]) -> None:
    check(int8)


def test_manifest_says_that_the_weights_are_random(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.name == "ViT-B-32-random"
    assert manifest.licence == "none: random weights"
    assert "random weights of seed 0" in manifest.source
    assert (manifest.text.dims, manifest.image.dims) == ({"text": 512}, {"image": 512})


@pytest.mark.parametrize("form", ["state dict", "TorchScript archive"])
def test_openai_weights_are_loaded_with_their_own_activation(published: Any, tmp_path: Path, form: str) -> None:
    """OpenAI's were trained with QuickGELU; with the usual one they are quietly wrong. They come as an archive."""
    ids = import_open_clip().get_tokenizer(SOURCE.model)(["a photo of a cat", "How tall?"])
    if form == "state dict":
        torch.save(published.state_dict(), tmp_path / "weights.pt")
    else:
        torch.jit.save(archived(published.state_dict()), tmp_path / "weights.pt")
    loaded: Any = clip.load(clip.Source("ViT-B-32", "openai", weights=tmp_path / "weights.pt"))
    with torch.no_grad():
        found, expected = (each.encode_text(ids, normalize=True) for each in (loaded, published))
    assert float((found * expected).sum(dim=-1).min()) >= LEAST


def test_listed_checkpoints_are_those_that_open_clip_pins() -> None:
    for listed in (listed for listed in CATALOGUE if listed.kind == "checkpoint"):
        url = f"{listed.file.base}/{listed.file.path}"
        assert clip.checkpoint(clip.Source(listed.name, "openai")) == (url, listed.file.sha256)
    assert clip.checkpoint(SOURCE) is None


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (clip.Source("RN50", clip.RANDOM), "only CLIPs of two plain transformers"),
        (clip.Source("ViT-Z", clip.RANDOM), "no model 'ViT-Z'"),
        (clip.Source("ViT-B-32", "magic"), "no weights 'magic'; known: random, openai"),
        (clip.Source("ViT-B-32", "openai", weights=Path(__file__)), "cannot be loaded"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_exported_is_refused(tmp_path: Path, source: clip.Source, says: str) -> None:
    with pytest.raises(BundleError, match=says):
        clip.build(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_seed_decides_over_random_weights(published: Any) -> None:
    other: Any = clip.load(replace(SOURCE, seed=1))
    assert not torch.equal(other.text_projection, published.text_projection)


def archived(state: dict[str, torch.Tensor]) -> torch.jit.ScriptModule:
    """A module that has these tensors under these names, and does nothing."""
    root = torch.nn.Module()
    for key, tensor in state.items():
        *path, name = key.split(".")
        module = root
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, torch.nn.Module())
            module = module.get_submodule(part)
        module.register_buffer(name, tensor)
    scripted: torch.jit.ScriptModule = torch.jit.script(root)
    return scripted


def our_ids(text: str) -> list[int]:
    return list(_TOKENIZER.encode(clean(text)).ids)


def their_ids(text: str) -> list[int]:
    ids = _THEIRS([text])[0].tolist()
    marked = len(ids) - 1 - ids[::-1].index(_END)
    return list(ids[: marked + 1])


def their_pixels(data: bytes, preprocess: Any) -> NDArray[np.float32]:
    """open_clip's values before normalisation, from 0 to 255."""
    *geometry, normalise = preprocess.transforms
    image: Any = Image.open(BytesIO(data))
    for step in geometry:
        image = step(image)
    assert type(normalise).__name__ == "Normalize"
    return np.asarray(255 * image.numpy().transpose(1, 2, 0), dtype=np.float32)


def enlarged(path: Path) -> bytes:
    """A real picture at 1024 pixels, where decoding at a reduced scale sets in."""
    with Image.open(path) as image:
        width, height = image.size
        scale = 1024 / max(width, height)
        large = image.convert("RGB").resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    file = BytesIO()
    large.save(file, "JPEG", quality=90)
    return file.getvalue()


def report(
    capsys: pytest.CaptureFixture[str], name: str, found: NDArray[np.float32], expected: NDArray[np.float32]
) -> float:
    """The least cosine, printed past pytest's capture: these numbers are what the run is for."""
    least = float(cosines(found, expected).min())
    centred = float(cosines(found - expected.mean(axis=0), expected - expected.mean(axis=0)).min())
    with capsys.disabled():
        print(f"\n{name}: least cosine with torch {least:.6f} on {len(found)} (mean taken off: {centred:.6f})")
    return least


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.sum(a * b, axis=1) / norms)


_TOKENIZER = clip_tokenizer()
_TOKENIZER.enable_truncation(77)
_THEIRS = import_open_clip().tokenizer.SimpleTokenizer()
_END = 49407
