"""Every encoder, and the fake that stands for one in other tests, obeys the same laws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.base import Encoder
from models.bundle import BUNDLED, bundled
from models.dual_encoder import DualEncoder
from tests.checks.encoder_checks import ENCODER_CHECKS, drawn
from tests.fakes.encoder import FakeEncoder
from tests.models.loaded import fused_lite


@pytest.fixture(scope="module", params=[*BUNDLED, "fake"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return FakeEncoder() if request.param == "fake" else DualEncoder.load(bundled(request.param))


@pytest.mark.parametrize("check", ENCODER_CHECKS, ids=lambda check: check.__name__)
def test_encoder_obeys(encoder: Encoder, check: Callable[[Encoder], None]) -> None:
    check(encoder)


def test_the_fake_has_the_views_of_the_bundled_encoder() -> None:
    real, fake = fused_lite(), FakeEncoder()
    assert (dict(fake.text_dims), dict(fake.image_dims)) == (dict(real.text_dims), dict(real.image_dims))


def test_fused_lite_puts_like_meanings_together() -> None:
    texts = ["How tall is the tower?", "What is the height of the building?", "Translate this menu into French."]
    tower, building, menu = fused_lite().encode_texts(texts)["text"]
    assert tower @ building > tower @ menu + 0.3


def test_fused_lite_puts_like_pictures_together() -> None:
    pictures = [drawn("red"), drawn("red", form="JPEG"), drawn("white", size=(900, 50))]
    red, same, bar = fused_lite().encode_images(pictures)["image_features"]
    assert _cosine(red, same) > _cosine(red, bar) + 0.3


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
