"""The seconds of a sound file: exact for plain WAV, bounded by the bytes for everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.images.audio import audio_seconds
from tests.gateway.images.files import wav


@pytest.mark.parametrize(
    "manner", [{}, {"samples": 8_000, "width": 1}, {"samples": 44_100, "channels": 2}, {"samples": 96_000, "width": 3}]
)
def test_plain_wav_has_the_seconds_of_its_header(manner: dict[str, int]) -> None:
    expected, most = audio_seconds(wav(10, **manner))
    assert (expected, most) == (11, 11)  # its 44 bytes of header are rounded up


def test_other_sound_is_bounded_by_the_lowest_bit_rate() -> None:
    assert audio_seconds(b"\xff\xfb" + bytes(79_998)) == (10, 80)
    assert audio_seconds(b"ID3") == (1, 1)


@pytest.mark.parametrize(
    ("at", "field"),
    [
        (20, b"\x55\x00"),  # an MP3 in a WAV
        (22, b"\x00\x00"),
        (24, bytes(4)),
        (34, bytes(2)),
        (12, b"junk"),
    ],
)
def test_a_header_that_does_not_say_the_length_leaves_the_bound(at: int, field: bytes) -> None:
    data = bytearray(wav(10))
    data[at : at + len(field)] = field
    assert audio_seconds(bytes(data))[1] == -(-len(data) // 1_000)


def test_a_header_cannot_make_sound_as_short_as_it_likes() -> None:
    data = bytearray(wav(10))
    data[24:28] = data[28:32] = b"\xff\xff\xff\x7f"
    assert audio_seconds(bytes(data))[1] >= 1
    longer = bytearray(wav(10))
    longer[28:32] = (1_000).to_bytes(4, "little")  # the stated byte rate is lower than the samples': believed
    assert audio_seconds(bytes(longer))[1] == 321


@given(st.binary(max_size=100))
def test_any_bytes_have_some_seconds(noise: bytes) -> None:
    for data in (noise, wav(1)[:40] + noise, b"RIFF\x00\x00\x00\x00WAVE" + noise):
        expected, most = audio_seconds(data)
        assert 0 <= expected <= most
