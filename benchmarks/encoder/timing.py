"""The parts of the encoder benchmark that need no server: encoders alone, and the steps before the image tower.

All times are processor times, which do not count while other processes have the core: of the one thread, or of both
threads where two share a run. A larger time on two threads is the cost of sharing; how much earlier two threads finish
is not measured.
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
"""(Subject, what) -> the function to call, and the number of items that one call processes."""

_WORDS = ("light", "table", "chart", "count", "angle", "price", "figure", "image", "number", "total", "least", "how")


def encoding(folders: Mapping[str, Path], rounds: int, seed: int) -> list[Row]:
    """Return the times per text and per image of each encoder, on one thread and on two."""
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
    """Return the times from a file to pixels, by Loupe's way and by the usual way, and of reading only the header."""
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
    # A call reads 1,000 headers, so milliseconds per call are microseconds per header.
    return rows + [
        row((part, *names), "us", taken) for names, taken in timed(headers, rounds, time.thread_time).items()
    ]


def timed(tasks: Tasks, rounds: int, clock: Callable[[], float]) -> dict[tuple[str, str], list[float]]:
    """Return the milliseconds per item of each task, one median per round."""
    taken: dict[tuple[str, str], list[float]] = {names: [] for names in tasks}
    for call, _ in tasks.values():
        call()
    for _ in range(rounds):
        for names, (call, items) in tasks.items():
            taken[names].append(median(_seconds(call, clock) for _ in range(CALLS)) / items * 1e3)
    return taken


def picture(seed: int, form: str) -> bytes:
    """Return a drawn image with edges, ramps and some grain, as a file of this format."""
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
    """Return a text of drawn words."""
    draw = random.Random(seed)
    return " ".join(draw.choice(_WORDS) for _ in range(words))


def plainly(data: bytes) -> np.ndarray:
    """Return normalised pixels in the usual way: decode the whole image, convert, resize in one step, normalise."""
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
