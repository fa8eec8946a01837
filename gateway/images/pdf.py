"""The pages of a PDF and a bound on their text, from the file's objects: nothing is rendered, no font is read.

Pages may be inside compressed object streams (ISO 32000-1, 7.5.7), which are therefore unpacked, within a limit. The
text of a page is the strings of its content streams. Rule: for any bytes the result is two whole numbers, in bounded
time.
"""

from __future__ import annotations

import re
import zlib

MOST_UNPACKED = 16 * 1024 * 1024
"""Bytes that are unpacked of one file; what is beyond is bounded by its packed size."""
MOST_STREAMS = 20_000
MOST_PAGES = 100_000
BYTES_OF_HIDDEN_PAGE = 2_048
"""A file whose pages cannot be seen (encrypted, or packed in a way that is not read) is taken to have one for so many
bytes.
"""
TEXT_PER_PACKED_BYTE = 4
"""Bytes of strings to assume of a byte of a stream that was not unpacked: text shrinks to a third or a quarter."""

_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z0-9])")
_COUNT = re.compile(rb"/Count\s+(\d{1,9})(?!\d*\s+\d+\s+R)")
_STREAM = re.compile(rb"(?<!end)stream\r?\n")
_SKIPPED = re.compile(
    rb"/Subtype\s*/(Image|Type1C|CIDFontType0C|OpenType|XML)|/FontFile|/Length1\b|/Type\s*/XRef|/FunctionType"
)
_STRING = re.compile(rb"\((?:\\.|[^()\\])*+\)?|<[0-9A-Fa-f\s]{2,}+>", re.DOTALL)
"""A string up to the next parenthesis, so that every byte is looked at once."""
_DICTIONARY = 2_048
"""Bytes before `stream` in which its dictionary is looked for."""


def pdf_pages(data: bytes) -> tuple[int, int]:
    """Return the number of pages, at least 1, and a bound on the bytes of their text.

    A file in which no page is found, and that has no place where pages could be hidden, is none that could be rendered:
    it counts as one page.
    """
    pages = len(_PAGE.findall(data))
    counted = _most_counted(data)
    text, left, is_hidden = 0, MOST_UNPACKED, b"/Encrypt" in data
    position = 0
    for _ in range(MOST_STREAMS):
        match = _STREAM.search(data, position)
        if match is None:
            break
        dictionary = _dictionary_before(data, match.start())
        end = data.find(b"endstream", match.end())
        position = end if end >= 0 else len(data)  # every byte is in one stream at most
        packed = data[match.end() : position]
        packed_objects = b"/ObjStm" in dictionary
        is_hidden |= b"/ObjStm" in packed
        if not packed_objects and _SKIPPED.search(dictionary):
            continue
        unpacked = _unpacked(packed, dictionary, left)
        if unpacked is None:
            is_hidden |= packed_objects
            text += 0 if packed_objects else TEXT_PER_PACKED_BYTE * len(packed)
            continue
        left -= len(unpacked)
        if packed_objects:
            pages += len(_PAGE.findall(unpacked))
            counted = max(counted, _most_counted(unpacked))
        else:
            text += _text_in(unpacked)
    else:
        is_hidden = True
    if is_hidden:
        pages += len(data) // BYTES_OF_HIDDEN_PAGE
    if pages:
        pages = max(pages, counted)
    return min(max(pages, 1), MOST_PAGES), text


def _text_in(content: bytes) -> int:
    """Return a bound on the bytes of a content stream's strings: all of it if one is nested or not closed."""
    strings = _STRING.findall(content)
    if any(string[:1] == b"(" and string[-1:] != b")" for string in strings):
        return len(content)
    return sum(map(len, strings))


def _most_counted(data: bytes) -> int:
    """Return the largest `/Count`: pages that a tree says it has, though one object may stand for several of them."""
    if b"/Pages" not in data:
        return 0
    return max((int(count) for count in _COUNT.findall(data)), default=0)


def _dictionary_before(data: bytes, end: int) -> bytes:
    before = data[max(0, end - _DICTIONARY) : end]
    at = before.rfind(b"obj")
    return before if at < 0 else before[at:]


def _unpacked(packed: bytes, dictionary: bytes, most: int) -> bytes | None:
    """Return a stream's bytes; None if they take more than `most` bytes or are packed in another way than by Flate."""
    if b"/Filter" not in dictionary:
        return packed if len(packed) <= most else None
    filters = re.findall(rb"/(\w+Decode|Fl|AHx|A85|LZW|RL|CCF|DCT)\b", dictionary)
    if filters not in ([b"FlateDecode"], [b"Fl"]) or most <= 0:
        return None
    worker = zlib.decompressobj()
    try:
        found = worker.decompress(packed, most)
    except zlib.error:
        return None
    return None if worker.unconsumed_tail else found
