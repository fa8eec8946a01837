"""CLIP's own way with texts: the cleaning that comes before its tokenizer, and the tokenizer as a file.

The vocabulary is that of OpenAI's CLIP (Radford et al. 2021, arXiv:2103.00020), rebuilt from its list of merges,
which is bundled. The cleaning is what `open_clip` does with `ftfy`, but for what guesses at a wrong encoding
(mojibake and C1 controls stay as they are): that is a dependency for texts that a chat client hardly sends.
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
"""Token ids that a text tower of CLIP takes at most, both marks counted."""

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_TERMINAL_ESCAPE = re.compile("\033\\[(?:\\d|;)*[a-zA-Z]")
_UNESCAPED_AT_MOST = 8

_SINGLE_QUOTES = (0x02BC, *range(0x2018, 0x201C))
_DOUBLE_QUOTES = range(0x201C, 0x2020)
_LIGATURES = "ĲĳǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬅﬆ"
_CONTROLS = (*range(9), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD))


def clean(text: str) -> str:
    """The text as CLIP's tokenizer wants it: entities and odd characters made plain, lower case, single blanks."""
    plain = _mended(text)
    return " ".join(html.unescape(html.unescape(plain)).split()).lower()


def clip_tokenizer() -> Tokenizer:
    """The byte-pair tokenizer over cleaned texts, its two marks around each."""
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
    if "<" not in text:  # what has tags is taken for HTML that is meant as it stands
        text = _unescaped(text)
    text = text.translate(_PLAIN)
    for line_break in ("\r\n", "\r", "\u2028", "\u2029"):
        text = text.replace(line_break, "\n")
    return unicodedata.normalize("NFC", _TERMINAL_ESCAPE.sub("", text).translate(_DROPPED))


def _unescaped(text: str) -> str:
    for _ in range(_UNESCAPED_AT_MOST):  # an entity may hide another, but a text must not keep us at it
        plain = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
        if plain == text:
            break
        text = plain
    return text


def _plain_characters() -> dict[int, str]:
    """Character -> what stands for it: straight quotes, letters for ligatures, usual widths."""
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
    """A visible letter for each byte, in the order in which the vocabulary counts them."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) for byte in visible] + [chr(256 + place) for place in range(len(hidden))]
