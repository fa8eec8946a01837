"""The parts of the encoder benchmark that need no server: encoders alone, and what comes before the image tower.

All of it is timed by the processor's clock, which stands still while others have the core: of the one thread, or of
both where two share a run. More of it on two threads is what sharing costs; how much sooner it is done is not seen.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.encoder.report import Row, row
from gateway.images.header import image_size
from models.dual_encoder import DualEncoder
from models.image_preprocessing import to_pixels

SIDE = 224
PICTURE = (1024, 768)
CALLS = 5
BATCH = 8
SHORT_WORDS, LONG_WORDS = 10, 400
HEADERS = 1_000
Tasks = Mapping[tuple[str, str], tuple[Callable[[], object], int]]
"""(Subject, what) -> what to call, and how many items one call does."""

_WORDS = ("light", "table", "chart", "count", "angle", "price", "figure", "image", "number", "total", "least", "how")


def encoding(folders: Mapping[str, Path], rounds: int, seed: int) -> list[Row]:
    """Per text and per image, each encoder on one thread and on two."""
    rows = []
    images = [picture(seed + number, "JPEG") for number in range(BATCH)]
    short, long = text(seed, SHORT_WORDS), text(seed, LONG_WORDS)
    for threads in (1, 2):
        tasks: dict[tuple[str, str], tuple[Callable[[], object], int]] = {}
        for name, folder in folders.items():
            encoder = DualEncoder.load(folder, threads=threads)
            tasks[name, f"text of {SHORT_WORDS} words"] = partial(encoder.encode_texts, [short]), 1
            tasks[name, f"text of {LONG_WORDS} words"] = partial(encoder.encode_texts, [long]), 1
            tasks[name, "image"] = partial(encoder.encode_images, images[:1]), 1
            tasks[name, f"image, {BATCH} at once"] = partial(encoder.encode_images, images), BATCH
        clock, said = (time.thread_time, "1 thread") if threads == 1 else (time.process_time, "2 threads together")
        part = f"Encoders, processor time of {said} (image: a JPEG of {_size()}, decoding counted)"
        rows += [row((part, *names), "ms", taken) for names, taken in timed(tasks, rounds, clock).items()]
    return rows


def preprocessing(rounds: int, seed: int) -> list[Row]:
    """From a file to pixels, by our way and plainly; and its size from the header alone."""
    pixels: dict[tuple[str, str], tuple[Callable[[], object], int]] = {}
    headers: dict[tuple[str, str], tuple[Callable[[], object], int]] = {}
    for form in ("JPEG", "PNG", "WEBP"):
        data = picture(seed, form)
        subject = f"{form} of {_size()}, {len(data) / 1e3:.0f} KB"
        pixels[subject, "to pixels"] = partial(to_pixels, data, SIDE), 1
        pixels[subject, "plainly"] = partial(plainly, data), 1
        headers[subject, "size from the header"] = partial(_read_headers, data), 1
    part = "Before the image tower, processor time (plainly: decoded whole, resized in one step, normalised in numpy)"
    rows = [row((part, *names), "ms", taken) for names, taken in timed(pixels, rounds, time.thread_time).items()]
    # So many headers a call that milliseconds a call are microseconds a header.
    return rows + [
        row((part, *names), "us", taken) for names, taken in timed(headers, rounds, time.thread_time).items()
    ]


def timed(tasks: Tasks, rounds: int, clock: Callable[[], float]) -> dict[tuple[str, str], list[float]]:
    """Milliseconds per item of each task: one median a round."""
    taken: dict[tuple[str, str], list[float]] = {names: [] for names in tasks}
    for call, _ in tasks.values():
        call()
    for _ in range(rounds):
        for names, (call, items) in tasks.items():
            taken[names].append(median(_seconds(call, clock) for _ in range(CALLS)) / items * 1e3)
    return taken


def picture(seed: int, form: str) -> bytes:
    """A drawn picture with edges, ramps and some grain, as a file of that format."""
    draw = np.random.default_rng(seed)
    width, height = PICTURE
    ramps, blocks = (
        Image.fromarray(draw.integers(0, 256, size, dtype=np.uint8)) for size in ((12, 16, 3), (24, 32, 3))
    )
    smooth = ramps.resize(PICTURE, Image.Resampling.BICUBIC)
    edged = blocks.resize(PICTURE, Image.Resampling.NEAREST)
    grain = draw.normal(0, 4, (height, width, 3))
    mixed = np.asarray(Image.blend(smooth, edged, 0.3), dtype=np.float64) + grain
    file = BytesIO()
    Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).save(file, form, quality=90)
    return file.getvalue()


def text(seed: int, words: int) -> str:
    """So many drawn words."""
    draw = random.Random(seed)
    return " ".join(draw.choice(_WORDS) for _ in range(words))


def plainly(data: bytes) -> np.ndarray:
    """What is usual: decode all, convert, resize in one step, normalise."""
    with Image.open(BytesIO(data)) as image:
        width, height = image.size
        edge = min(width, height)
        left, top = (width - edge) / 2, (height - edge) / 2
        square = image.convert("RGB").resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + edge, top + edge)
        )
    values = (np.asarray(square, dtype=np.float32) / 255 - np.float32(0.45)) / np.float32(0.27)
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _read_headers(data: bytes) -> None:
    for _ in range(HEADERS):
        image_size(data)


def _seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    call()
    return clock() - began


def _size() -> str:
    return f"{PICTURE[0]} x {PICTURE[1]}"
