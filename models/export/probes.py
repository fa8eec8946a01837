"""The probes of a new bundle: Loupe's own texts and images, and the vectors that the bundle computes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from models.bundle import Manifest, Probes, probe_views, prove, read_manifest, write_manifest
from models.dual_encoder import DualEncoder

VECTORS = "probes.npz"
TEXTS = (
    "What is the total on this receipt?",
    "a photo of a cat",
    "In the chart, which bar is the tallest, and by how much? Answer with a number.",
    "How many circles intersect the red line?",
    "2 + 2 = ?",
    "Translate the sign into English, then explain step by step what a visitor may and may not do here, and why.",
)
_SEED = 5


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Draw probes, store their vectors, write the manifest, and check the finished bundle against its manifest.

    The folder must have the manifest's other files. Raises BundleError when the bundle fails its probes.
    """
    probes = Probes(texts=TEXTS, images=draw_pictures(folder), vectors=VECTORS)
    manifest = replace(manifest, probes=probes)
    vectors: dict[str, Any] = {**probe_views(DualEncoder(manifest, folder, threads=1), folder, probes)}
    np.savez(folder / VECTORS, **vectors)
    write_manifest(folder, manifest)
    sealed = read_manifest(folder)
    prove(DualEncoder(sealed, folder, threads=1), folder, sealed.probes)
    return sealed


def draw_pictures(folder: Path) -> tuple[str, ...]:
    """Write images of different kinds as PNG files. Returns their file names."""
    pictures = {"probe-shapes.png": shapes(), "probe-page.png": _page(), "probe-grain.png": _grain()}
    for name, picture in pictures.items():
        picture.save(folder / name, optimize=True)
    return tuple(pictures)


def shapes() -> Image.Image:
    """Return an image of shapes, a ramp and strokes, 320 x 256."""
    image = Image.linear_gradient("L").resize((320, 256)).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.ellipse((30, 40, 150, 160), fill=(200, 40, 40), outline="white", width=4)
    draw.rectangle((180, 60, 290, 200), fill=(40, 90, 200))
    for step in range(8):
        draw.line((20 + 36 * step, 240, 40 + 36 * step, 200 - 12 * step), fill=(250, 220, 60), width=5)
    return image


def _page() -> Image.Image:
    """Return an image of rows of dark strokes on white, like a printed page, 240 x 340."""
    image = Image.new("RGB", (240, 340), "white")
    draw = ImageDraw.Draw(image)
    for row in range(18):
        for word in range(7):
            left = 16 + 30 * word
            draw.rectangle((left, 20 + 17 * row, left + 10 + (row * 7 + word * 5) % 15, 28 + 17 * row), fill="black")
    return image


def _grain() -> Image.Image:
    """Return an image of smoothed coloured grain: 64 x 48 values, enlarged to 256 x 192."""
    grain = np.random.default_rng(_SEED).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return Image.fromarray(grain).resize((256, 192), Image.Resampling.BICUBIC)
