"""The mixed requests of the benchmark, from a seed: text, pictures, tools, schemas, files, streams, and tunings."""

from __future__ import annotations

import base64
import io
import json
import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from benchmarks.providers.asked import Asked
from benchmarks.providers.families import FAMILIES, Family
from benchmarks.providers.prose import ANSWERS, QUESTIONS
from benchmarks.providers.refusals import FLAGGED

KINDS = {"text": 36, "image": 22, "tools": 14, "schema": 10, "file": 6, "long": 6, "history": 6}
"""Kind -> weight."""
WEIGHTS = ("0", "0.1", "0.5", "0.9")
"""Of X-Quality-Weight: with the first two the cheapest providers come first, which take the fewest requests."""
SIZES = ((64, 64), (320, 240), (640, 480), (800, 1000), (1200, 300))
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "total",
        "schema": {"type": "object", "properties": {"total": {"type": "number"}, "unit": {"type": "string"}}},
    },
}
TUNINGS: Mapping[str, tuple[float, Any]] = {
    "temperature": (0.35, (0, 0.2, 0.7, 1, 1.3)),
    "top_p": (0.1, (0.9, 1)),
    "seed": (0.08, (7, 42)),
    "user": (0.06, ("someone",)),
    "stop": (0.05, ("END", ["END", "STOP"])),
    "n": (0.04, (2, 3)),
    "logprobs": (0.03, (True,)),
    "presence_penalty": (0.03, (0.5,)),
    "top_k": (0.02, (40,)),
}
"""Member -> (share of the requests that have it, its values)."""

ONLY_TUNING = ("temperature", "top_p", "seed", "user", "presence_penalty", "top_k")
"""Members without which a reply is still the one that was asked for."""
LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True)
class Mixed:
    """One request. `cap_usd` is its X-Budget; `is_tight` if that may be too little; `allowed` its X-Candidates."""

    number: int
    kind: str
    body: Mapping[str, Any]
    cap_usd: str | None
    is_tight: bool
    allowed: tuple[str, ...] | None
    weight: str

    def servers(self) -> list[Family]:
        """Return the providers that serve this body as the client wrote it, by their own rules."""
        return self._takers([self.body])

    def adapted_servers(self) -> list[Family]:
        """Return the providers that serve this body at least without what only tunes it, in their own words."""
        plain = {name: value for name, value in self.body.items() if name not in (*ONLY_TUNING, *LIMITS)}
        limit = next((self.body[name] for name in LIMITS if name in self.body), None)
        messages = [{**m, "role": "system" if m["role"] == "developer" else m["role"]} for m in self.body["messages"]]
        plain["messages"] = messages
        return self._takers([plain if limit is None else {**plain, name: limit} for name in LIMITS])

    def _takers(self, bodies: Sequence[Mapping[str, Any]]) -> list[Family]:
        asked = [Asked(body) for body in bodies]
        allowed = [f for f in FAMILIES if self.allowed is None or f.name in self.allowed]
        return [f for f in allowed if any(f.can_serve(each) for each in asked)]

    @property
    def encoded(self) -> bytes:
        return json.dumps(self.body).encode()


def mixed(count: int, seed: int) -> list[Mixed]:
    """Return so many requests, always the same ones for a seed."""
    draw = random.Random(seed)
    pictures = [_picture(draw, size) for size in SIZES for _ in range(3)]
    return [_one(draw, number, pictures) for number in range(count)]


def _one(draw: random.Random, number: int, pictures: list[str]) -> Mixed:
    kind = draw.choices(list(KINDS), list(KINDS.values()))[0]
    question = "\n".join(sentence for sentence, _ in draw.sample(QUESTIONS, draw.randint(1, 3)))
    if draw.random() < 0.04:
        question += f"\n{FLAGGED}"
    body: dict[str, Any] = {"model": "auto"}
    first = "developer" if draw.random() < 0.06 else "system"
    messages: list[dict[str, Any]] = [{"role": first, "content": f"Case {number}."}]
    content: Any = question
    if kind == "image":
        content = [{"type": "text", "text": question}]
        for url in draw.sample(pictures, draw.choice((1, 1, 1, 2, 3))):
            content.append({"type": "image_url", "image_url": {"url": url, "detail": "high"}})
        if draw.random() < 0.15:
            body["tools"] = [TOOL]
    elif kind == "file":
        file = {"filename": "report.pdf", "file_data": f"data:application/pdf;base64,{_pdf(draw.randint(1, 4))}"}
        content = [{"type": "text", "text": question}, {"type": "file", "file": file}]
    elif kind == "long":
        lines = [sentence for sentence, _ in ANSWERS]
        content = "\n".join([*draw.choices(lines, k=draw.randint(100, 420)), question])
    elif kind == "history":
        for _ in range(draw.randint(1, 6)):
            messages.append({"role": "user", "content": draw.choice(QUESTIONS)[0]})
            messages.append({"role": "assistant", "content": draw.choice(ANSWERS)[0]})
    elif kind == "tools":
        body |= {"tools": [TOOL], "tool_choice": draw.choice(("auto", "auto", "required"))}
    elif kind == "schema":
        body["response_format"] = draw.choice((SCHEMA, SCHEMA, {"type": "json_object"}))
    body["messages"] = [*messages, {"role": "user", "content": content}]
    if draw.random() < 0.5:
        body["stream"] = True
        if draw.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
    if draw.random() < 0.7:
        name = "max_tokens" if draw.random() < 0.7 else "max_completion_tokens"
        body[name] = draw.choice((16, 64, 256, 1_000, 4_000))
    for name, (share, values) in TUNINGS.items():
        if draw.random() < share:
            body[name] = draw.choice(values)
    cap, is_tight = None, False
    if draw.random() < 0.4:
        is_tight = draw.random() < 0.3
        cap = f"{10 ** draw.uniform(-5, -2.5):.9f}" if is_tight else "5"
    names = [family.name for family in FAMILIES]
    allowed = tuple(draw.sample(names, draw.randint(3, 8))) if draw.random() < 0.5 else None
    return Mixed(number, kind, body, cap, is_tight, allowed, draw.choice(WEIGHTS))


def _picture(draw: random.Random, size: tuple[int, int]) -> str:
    image = Image.new("RGB", size, (draw.randrange(256), draw.randrange(256), draw.randrange(256)))
    ImageDraw.Draw(image).ellipse((size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2), fill="white")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _pdf(pages: int) -> str:
    """Return a PDF of so many pages with a few words each, as base64."""
    kids = b" ".join(b"%d 0 R" % (number + 10) for number in range(pages))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, pages)]
    objects += [b"<< /Type /Page /Parent 2 0 R /Contents 5 0 R >>"] * pages
    packed = zlib.compress(b"BT /F1 12 Tf (Quarterly report) Tj ET")
    content = b"9 0 obj\n<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream\nendobj\n" % (len(packed), packed)
    plain = b"".join(b"%d 0 obj\n%b\nendobj\n" % pair for pair in enumerate(objects, 1))
    return base64.b64encode(b"%PDF-1.4\n" + plain + content + b"%%EOF").decode()
