"""Tokens of a text: the number to expect of a provider family's tokenizer, and an upper bound.

No tokenizer runs here: their vocabularies are megabytes that no well-kept package carries, and the candidates of one
request have several. A text is counted once, by classes of characters, and each family has its tokens per class.
Measured with the families' own vocabularies (o200k and cl100k of tiktoken, Llama 3 and 4, Qwen, Mistral's Tekken; for
Claude the reconstruction of counts by `ctok` 1.3) on 2,700 pieces of 60 to 1,500 bytes: prose, code, JSON, tools, logs,
numbers, emoji, 19 languages and the questions of two outcome tables. On held-out pieces the count is off by 8 to 11% on
average, Claude's too, while one token per four bytes is off by 19 to 21% (Claude 22%, and since 2026 31%, because that
tokenizer needs a third more tokens). `benchmarks/estimates/texts.py` repeats the measurement for OpenAI's.

Gemini's tokenizer was not available: Google's page says "about 4 characters". It is assumed to be like o200k, whose
vocabulary is as large, with one token per digit.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from gateway.errors import ConfigError

BYTES_PER_TOKEN = 4


class TextShape(NamedTuple):
    """The number of characters of each class in a text.

    Attributes:
        most_bytes: bytes of the text's UTF-8, or of its NFC form if that is longer: some tokenizers normalise first.
        lower, upper, digits, spaces, marks: ASCII; `marks` is all other ASCII, including line breaks.
        latin, cyrillic, two: two-byte characters; `two` is all others: Greek, Hebrew, Arabic.
        indic, symbols, kana, han, hangul: three-byte characters; `indic` also has Thai and its neighbours.
        four: four-byte characters: emoji.
    """

    most_bytes: int
    lower: int
    upper: int
    digits: int
    spaces: int
    marks: int
    latin: int = 0
    cyrillic: int = 0
    two: int = 0
    indic: int = 0
    symbols: int = 0
    kana: int = 0
    han: int = 0
    hangul: int = 0
    four: int = 0


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """The token counts of a family of tokenizers.

    Attributes:
        thousandths: tokens per thousand characters of each class, in the order of `TextShape` from `lower` on.
        marks_case: True if it has separate tokens for capitals and the edges of words, as Claude's tokenizer has.
        tools_prompt: tokens of the text that the provider itself writes before tools, as far as it is published.
    """

    name: str
    thousandths: tuple[int, ...]
    marks_case: bool = False
    tools_prompt: int = 0

    def expected(self, shape: TextShape) -> int:
        """Return the tokens to expect: an estimate to rank by."""
        each = self.thousandths
        most, lower, upper, digits, spaces, marks = shape[:6]
        total = each[0] * lower + each[1] * upper + each[2] * digits + each[3] * spaces + each[4] * marks
        if lower + upper + digits + spaces + marks < most:
            total += sum([weight * count for weight, count in zip(each[5:], shape[6:], strict=True)])
        found = -(-total // 1000)
        return found if found <= most else min(found, self.ceiling(shape))

    def ceiling(self, shape: TextShape) -> int:
        """Return the most tokens that the text can have.

        With `marks_case` (Claude), that is one more for each capital and each byte that is not ASCII: of 90,000 random
        texts that mix capitals, marks and scripts, none exceeded this.
        """
        if not self.marks_case:
            return ceiling_text_tokens(shape.most_bytes)
        return ceiling_text_tokens(2 * shape.most_bytes - _ascii(shape) + shape.upper)


def shape_of(pieces: Iterable[str | bytes | memoryview]) -> TextShape:
    """Count a text that comes in pieces; bytes are UTF-8."""
    data, most = [], 0
    for piece in pieces:
        if not isinstance(piece, str):
            raw = bytes(piece)
            data.append(raw)
            most += len(raw)
            continue
        raw = piece.encode("utf-8", "replace")
        data.append(raw)
        most += len(raw) if len(raw) == len(piece) else _longest_form(piece, len(raw))
    return _counted(data[0] if len(data) == 1 else b"".join(data), most)


def expected_text_tokens(text_bytes: int) -> int:
    """Return the tokens to expect of a text of which only the bytes are known: one per four, rounded up.

    This is the rule of thumb that OpenAI and Google publish for English ("a token is about 4 characters").
    """
    return -(-text_bytes // BYTES_PER_TOKEN)


def ceiling_text_tokens(text_bytes: int) -> int:
    """Return the most tokens that `text_bytes` bytes of UTF-8 can become: one per byte, plus one.

    Byte-level BPE (GPT, Llama 3, Qwen) starts from one token per byte and only ever merges. SentencePiece with byte
    fallback (Gemma, Mistral, Llama 2) covers a character by one piece or by one token per byte of the character. Both
    cover the text without overlap: no token covers less than a byte. The extra token is the space that SentencePiece
    puts in front. The tokens that a chat template adds are counted per message, elsewhere.

    The bound holds for the text as it is tokenized. `TextShape.most_bytes` covers tokenizers that first normalise to
    NFC (Qwen, Claude), which makes nearly every text shorter and the few characters that it takes apart longer.
    """
    return text_bytes + 1 if text_bytes > 0 else 0


TOKENIZERS = MappingProxyType(
    {
        tokenizer.name: tokenizer
        for tokenizer in (
            Tokenizer("openai_o200k", (222, 328, 711, 103, 514, 862, 335, 374, 399, 837, 639, 863, 651, 1850)),
            Tokenizer("openai_cl100k", (228, 324, 720, 112, 480, 1736, 532, 940, 1181, 1005, 986, 1112, 1029, 2533)),
            Tokenizer(
                "anthropic",
                (217, 635, 682, 192, 643, 2214, 449, 785, 994, 1611, 788, 1274, 1375, 4049),
                marks_case=True,
                tools_prompt=346,
            ),
            Tokenizer(
                "anthropic_2026",
                (333, 1282, 622, 96, 743, 2217, 462, 804, 1003, 1856, 792, 1274, 1396, 3975),
                marks_case=True,
                tools_prompt=346,
            ),
            Tokenizer("gemini", (222, 328, 1000, 103, 514, 862, 335, 374, 399, 837, 639, 863, 651, 1850)),
            Tokenizer("llama3", (235, 308, 724, 109, 466, 815, 354, 411, 578, 1233, 614, 899, 705, 2385)),
            Tokenizer("llama4", (212, 293, 717, 153, 496, 654, 285, 385, 393, 1015, 472, 702, 557, 1872)),
            Tokenizer("mistral_tekken", (219, 449, 1209, 114, 511, 962, 348, 370, 519, 1259, 615, 1099, 690, 3250)),
            Tokenizer("qwen", (239, 309, 1231, 93, 452, 1029, 422, 519, 741, 1451, 659, 800, 785, 2204)),
        )
    }
)
"""The tokenizers by their name in a configuration. `anthropic` is Claude 3 to Opus 4.6,
`anthropic_2026` later models.
"""
DEFAULT_TOKENIZER = TOKENIZERS["openai_o200k"]


def tokenizer_named(name: str) -> Tokenizer:
    """Return the tokenizer of this name. Raises ConfigError for an unknown name."""
    if name not in TOKENIZERS:
        raise ConfigError(f"unknown tokenizer {name!r}; known: {', '.join(TOKENIZERS)}")
    return TOKENIZERS[name]


_LOWER = string.ascii_lowercase.encode()
_UPPER = string.ascii_uppercase.encode()
_DIGITS = string.digits.encode()
_ASCII = bytes(range(0x80))
_CONTINUATION = bytes(range(0x80, 0xC0))
_LEADS = (  # by class, in the order of `TextShape` from `latin` on; `two` is the rest of C0..DF
    bytes(range(0xC2, 0xCC)),
    bytes(range(0xD0, 0xD4)),
    bytes((*range(0xCC, 0xD0), *range(0xD4, 0xE0))),
    b"\xe0\xe1",
    b"\xe2\xee\xef",
    b"\xe3",
    bytes(range(0xE4, 0xEA)),
    bytes(range(0xEA, 0xEE)),
    bytes(range(0xF0, 0xF5)),
)


def _counted(data: bytes, most: int) -> TextShape:
    """Count the classes of characters. Each pass deletes one class, so that the next pass reads a shorter rest."""
    rest = data.translate(None, _LOWER)
    lower = len(data) - len(rest)
    left = rest.translate(None, _UPPER)
    upper = len(rest) - len(left)
    spaces = left.count(b" ")
    rest = left.translate(None, _DIGITS)
    digits = len(left) - len(rest)
    if rest.isascii():
        return TextShape(most, lower, upper, digits, spaces, len(rest) - spaces)
    high = rest.translate(None, _ASCII)
    leads = high.translate(None, _CONTINUATION)
    counts = []
    for members in _LEADS:
        left = leads.translate(None, members)
        counts.append(len(leads) - len(left))
        leads = left
    return TextShape(most, lower, upper, digits, spaces, len(rest) - spaces - len(high), *counts)


def _longest_form(text: str, size: int) -> int:
    """Return the bytes of a text of `size` bytes, or of its NFC form if that is longer."""
    if unicodedata.is_normalized("NFC", text):
        return size
    return max(size, len(unicodedata.normalize("NFC", text).encode("utf-8", "replace")))


def _ascii(shape: TextShape) -> int:
    return shape.lower + shape.upper + shape.digits + shape.spaces + shape.marks
