"""The length of a sound file, as far as its bytes bound it: WAV by its header, everything else by its size.

Rule: for any bytes the result is two whole numbers, expected and most seconds, in bounded time.
"""

from __future__ import annotations

FORMATS = ("wav", "mp3")
"""What `input_audio.format` may be, as at OpenAI. Other formats can hold hours of silence in a few bytes."""
LEAST_BYTES_PER_SECOND = 1_000
"""8 kbit/s, the lowest bit rate of an MP3 frame (ISO/IEC 13818-3, layer III)."""
USUAL_BYTES_PER_SECOND = 8_000
"""64 kbit/s, to expect of an MP3: speech at a usual rate."""
_MOST_SAMPLES = 384_000
"""Samples per second of the fastest sound cards: a header that says more does not shorten the sound further."""
_PLAIN = (1, 3)  # PCM and floating point (Microsoft, mmreg.h)
_EXTENSIBLE = 0xFFFE
_MOST_CHUNKS = 64


def audio_seconds(data: bytes) -> tuple[int, int]:
    """Return the seconds to expect of a sound file and the most that it can have; both rounded up."""
    rate = _wav_bytes_per_second(data)
    if rate:
        seconds = -(-len(data) // rate)
        return seconds, seconds
    return -(-len(data) // USUAL_BYTES_PER_SECOND), -(-len(data) // LEAST_BYTES_PER_SECOND)


def _wav_bytes_per_second(data: bytes) -> int:
    """Return the bytes of a second of plain WAV; 0 for anything else, and for compressed sound in a WAV.

    Reckoned from samples, channels and bits, which decoders go by; the byte rate that the header states may be lower.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return 0
    position = 12
    for _ in range(_MOST_CHUNKS):
        name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if name == b"fmt ":
            return _rate_of(data[position + 8 : position + 8 + min(size, 40)])
        if len(name) < 4 or name == b"data":
            return 0
        position += 8 + size + (size & 1)
    return 0


def _rate_of(format: bytes) -> int:
    if len(format) < 16:
        return 0
    numbers = [
        int.from_bytes(format[at : at + size], "little") for at, size in ((0, 2), (2, 2), (4, 4), (8, 4), (14, 2))
    ]
    kind, channels, samples, stated, bits = numbers
    if kind == _EXTENSIBLE:
        kind = int.from_bytes(format[24:26], "little")
    if kind not in _PLAIN:
        return 0
    rate = min(samples, _MOST_SAMPLES) * min(channels, 8) * min(bits, 64) // 8
    return min(rate, stated) if stated else rate
