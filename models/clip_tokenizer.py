"""CLIP's treatment of texts: the cleaning before its tokenizer, and the tokenizer itself.

The vocabulary is that of OpenAI's CLIP (Radford et al. 2021, arXiv:2103.00020), rebuilt from its list of merges,
which is bundled. The cleaning is that of `open_clip` with `ftfy`, without the repair of wrong encodings (mojibake and
C1 controls are kept): that would be a dependency for texts that chat clients hardly ever send.
"""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.processors import TemplateProcessing

MERGES = Path(__file__).resolve().parent / "bundled" / "clip-merges.txt.gz"
START, END = "<start_of_text>", "<end_of_text>"
END_OF_WORD = "</w>"
CONTEXT = 77
"""The largest number of token ids that a text tower of CLIP takes, including both marks."""

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_TERMINAL_ESCAPE = re.compile("\033\\[(?:\\d|;)*[a-zA-Z]")
_UNESCAPED_AT_MOST = 8

_SINGLE_QUOTES = (0x02BC, *range(0x2018, 0x201C))
_DOUBLE_QUOTES = range(0x201C, 0x2020)
_LIGATURES = "ĲĳǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬅﬆ"
_CONTROLS = (*range(9), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD))


def clean(text: str) -> str:
    """Return the text as CLIP's tokenizer expects it: plain characters, no entities, lower case, single blanks."""
    plain = _mended(text)
    return " ".join(html.unescape(html.unescape(plain)).split()).lower()


def clip_tokenizer() -> Tokenizer:
    """Return the byte-pair tokenizer of cleaned texts, which puts its two marks around each text."""
    lines = gzip.decompress(MERGES.read_bytes()).decode().splitlines()
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    letters = _byte_letters()
    words = [
        *letters,
        *(letter + END_OF_WORD for letter in letters),
        *(left + right for left, right in merges),
        START,
        END,
    ]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(BPE(vocabulary, merges, end_of_word_suffix=END_OF_WORD))
    tokenizer.pre_tokenizer = Sequence(
        [Split(Regex(_WORDS), "removed", invert=True), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.post_processor = TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(mark, vocabulary[mark]) for mark in (START, END)]
    )
    tokenizer.add_special_tokens([START, END])
    return tokenizer


def _mended(text: str) -> str:
    if "<" not in text:  # a text with tags is taken to be HTML, which is kept as it is
        text = _unescaped(text)
    text = text.translate(_PLAIN)
    for line_break in ("\r\n", "\r", "\u2028", "\u2029"):
        text = text.replace(line_break, "\n")
    return unicodedata.normalize("NFC", _TERMINAL_ESCAPE.sub("", text).translate(_DROPPED))


def _unescaped(text: str) -> str:
    for _ in range(_UNESCAPED_AT_MOST):  # an entity may hide another; the limit bounds the work for hostile texts
        plain = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
        if plain == text:
            break
        text = plain
    return text


def _plain_characters() -> dict[int, str]:
    """Return character -> its replacement: straight quotes, letters for ligatures, usual widths."""
    full_widths = {number: unicodedata.normalize("NFKC", chr(number)) for number in range(0xFF01, 0xFFF0)}
    return {
        0x3000: " ",
        **{number: plain for number, plain in full_widths.items() if plain != chr(number)},
        **{ord(character): unicodedata.normalize("NFKC", character) for character in _LIGATURES},
        ord("ﬅ"): "ſt",
        ord("ŉ"): "'n",
        **dict.fromkeys(_SINGLE_QUOTES, "'"),
        **dict.fromkeys(_DOUBLE_QUOTES, '"'),
    }


_PLAIN = _plain_characters()
_DROPPED = dict.fromkeys(_CONTROLS)


def _byte_letters() -> list[str]:
    """Return a visible letter for each byte, in the order of the vocabulary."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) for byte in visible] + [chr(256 + place) for place in range(len(hidden))]
