"""Tokens of a text: what to expect of a provider family's tokenizer, and what cannot be exceeded.

No tokenizer runs here: their vocabularies are megabytes that no well-kept package carries, and the candidates of one
request have several. A text is counted once, by classes of characters, and each family has its tokens per class.

Measured with the families' own vocabularies (o200k and cl100k of tiktoken, Llama 3 and 4, Qwen, Mistral's Tekken; for
Claude the reconstruction of counts by `ctok` 1.3) on 2,700 pieces of 60 to 1,500 bytes: prose, code, JSON, tools, logs,
numbers, emoji, 19 languages and the questions of two outcome tables. On pieces that were held out the count is off by
9 to 11% on average (Claude 13%, since 2026 14%), where a token for four bytes is off by 17 to 19% (Claude 19%, 29%).
Gemini's tokenizer was not to be had: Google's page says "about 4 characters"; it is taken for o200k's, which has as
large a vocabulary, with a token for each digit.
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
    """How many characters of each class a text has.

    Attributes:
        most_bytes: of its UTF-8, or of its NFC form's where that is longer: some tokenizers normalise first.
        lower, upper, digits, spaces, marks: ASCII; `marks` is everything else of it, line breaks too.
        latin, cyrillic, two: of two bytes; `two` is the others: Greek, Hebrew, Arabic.
        indic, symbols, kana, han, hangul: of three bytes; `indic` has Thai and its neighbours too.
        four: of four bytes: emoji.
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
    """How a family of tokenizers cuts text.

    Attributes:
        thousandths: tokens of a thousand characters of each class, in the order of `TextShape` from `lower` on.
        marks_case: whether it has tokens of its own for capitals and the edges of words, as Claude's.
        tools_prompt: tokens of what the provider itself writes before tools, as far as it is published.
    """

    name: str
    thousandths: tuple[int, ...]
    marks_case: bool = False
    tools_prompt: int = 0

    def expected(self, shape: TextShape) -> int:
        """Tokens to expect: an estimate to rank by."""
        ascii_weights = self.thousandths
        total = (
            ascii_weights[0] * shape[1]
            + ascii_weights[1] * shape[2]
            + ascii_weights[2] * shape[3]
            + ascii_weights[3] * shape[4]
            + ascii_weights[4] * shape[5]
        )
        if _ascii(shape) < shape.most_bytes:
            total += sum([weight * count for weight, count in zip(self.thousandths[5:], shape[6:], strict=True)])
        found = -(-total // 1000)
        return found if found <= shape.most_bytes else min(found, self.ceiling(shape))

    def ceiling(self, shape: TextShape) -> int:
        """The most tokens it can be. For Claude's see `marks_case`: one more for each capital and each byte that is
        not ASCII, which no text of 90,000 random ones that mix capitals, marks and scripts exceeded.
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
    """Tokens to expect of a text of which only the bytes are known: one per four, rounded up.

    The rule of thumb that OpenAI and Google publish for English ("a token is about 4 characters").
    """
    return -(-text_bytes // BYTES_PER_TOKEN)


def ceiling_text_tokens(text_bytes: int) -> int:
    """The most tokens that `text_bytes` bytes of UTF-8 can become: one per byte, and one more.

    Byte-level BPE (GPT, Llama 3, Qwen) starts from one token per byte and only ever merges. SentencePiece
    with byte fallback (Gemma, Mistral, Llama 2) covers a character by one piece or by one token per byte of
    it. Both tile the text: no token stands for less than a byte. The one more is the space that SentencePiece
    puts in front. What a chat template adds is counted per message, elsewhere.

    The bound is of the text as it is tokenized: `TextShape.most_bytes` sees to tokenizers that first normalise to
    NFC (Qwen, Claude), which makes nearly every text shorter and the few characters that it takes apart longer.
    """
    return text_bytes + 1 if text_bytes > 0 else 0


TOKENIZERS = MappingProxyType(
    {
        tokenizer.name: tokenizer
        for tokenizer in (
            Tokenizer("openai_o200k", (197, 488, 675, 114, 585, 945, 320, 371, 390, 907, 635, 858, 641, 1945)),
            Tokenizer("openai_cl100k", (212, 440, 698, 147, 516, 1751, 523, 911, 1174, 1018, 973, 1104, 1040, 2504)),
            Tokenizer(
                "anthropic",
                (244, 849, 690, 223, 560, 1916, 449, 785, 986, 1093, 773, 1299, 1367, 3858),
                marks_case=True,
                tools_prompt=346,
            ),
            Tokenizer(
                "anthropic_2026",
                (392, 1345, 659, 109, 609, 1752, 466, 808, 1000, 1503, 786, 1293, 1398, 3551),
                marks_case=True,
                tools_prompt=346,
            ),
            Tokenizer("gemini", (197, 488, 1000, 114, 585, 945, 320, 371, 390, 907, 635, 858, 641, 1945)),
            Tokenizer("llama3", (234, 395, 713, 154, 465, 706, 345, 402, 571, 1035, 616, 891, 687, 2257)),
            Tokenizer("llama4", (195, 428, 692, 157, 539, 746, 276, 384, 383, 1023, 472, 690, 549, 1975)),
            Tokenizer("mistral_tekken", (220, 502, 1187, 102, 548, 957, 345, 368, 513, 1046, 613, 1097, 686, 3342)),
            Tokenizer("qwen", (236, 405, 1221, 143, 450, 949, 411, 501, 755, 1249, 645, 804, 773, 2121)),
        )
    }
)
"""By the name that a configuration gives. `anthropic` is Claude 3 to Opus 4.6, `anthropic_2026` what came after."""
DEFAULT_TOKENIZER = TOKENIZERS["openai_o200k"]


def tokenizer_named(name: str) -> Tokenizer:
    """Raises ConfigError for a name that is not known."""
    if name not in TOKENIZERS:
        raise ConfigError(f"no tokenizer is called {name!r}; there are {', '.join(TOKENIZERS)}")
    return TOKENIZERS[name]


_LOWER = string.ascii_lowercase.encode()
_UPPER = string.ascii_uppercase.encode()
_DIGITS = string.digits.encode()
_ASCII = bytes(range(0x80))
_CONTINUATION = bytes(range(0x80, 0xC0))
_LEADS = (  # by class, in the order of `TextShape` from `latin` on; `two` is what is left of C0..DF
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
    """Each pass deletes a class and looks at what is left, which is ever shorter."""
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
    """Bytes of a text of `size` bytes, or of its NFC form, where that is longer."""
    if unicodedata.is_normalized("NFC", text):
        return size
    return max(size, len(unicodedata.normalize("NFC", text).encode("utf-8", "replace")))


def _ascii(shape: TextShape) -> int:
    return shape.lower + shape.upper + shape.digits + shape.spaces + shape.marks
