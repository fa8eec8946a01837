"""The pages of a PDF, however they are packed, and a bound on their text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.images.pdf import BYTES_OF_HIDDEN_PAGE, MOST_PAGES, MOST_STREAMS, pdf_pages
from tests.gateway.images.files import pdf_of


@pytest.mark.parametrize("pages", [1, 2, 17])
@pytest.mark.parametrize("packed", [False, True])
def test_pages_are_counted_in_the_open_and_in_object_streams(pages: int, packed: bool) -> None:
    assert pdf_pages(pdf_of(pages, packed=packed)) == (pages, 0)


def test_text_is_bounded_by_the_strings_of_the_content_streams() -> None:
    pages, text = pdf_pages(pdf_of(3, text=rb"Some (nested \) words) here" * 10))
    assert pages == 3
    assert 3 * 260 <= text <= 3 * 300


def test_a_page_that_stands_in_the_tree_many_times_counts_as_often_as_the_tree_says() -> None:
    assert pdf_pages(pdf_of(1).replace(b"/Count 1", b"/Count 5000"))[0] == 5_000
    assert pdf_pages(pdf_of(1).replace(b"/Count 1", b"/Count 999999999"))[0] == MOST_PAGES


@pytest.mark.parametrize(
    "hidden",
    [
        pdf_of(5, packed=True).replace(b"/Filter /FlateDecode", b"/Filter [/ASCIIHexDecode /FlateDecode]"),
        pdf_of(5, packed=True).replace(b"%PDF-1.5", b"%PDF-1.5 stream"),
        pdf_of(5, packed=True) + b"trailer << /Encrypt 4 0 R >>",
    ],
)
def test_pages_that_cannot_be_seen_are_bounded_by_the_bytes(hidden: bytes) -> None:
    assert pdf_pages(hidden + bytes(100 * BYTES_OF_HIDDEN_PAGE))[0] >= 100


@pytest.mark.parametrize("data", [b"%PDF-", b"", b"\x00" * 60_000, b"stream\n", b"/Type /Pages"])
def test_bytes_without_a_page_are_one_page(data: bytes) -> None:
    assert pdf_pages(data) == (1, 0)


def test_a_small_stream_that_unpacks_to_much_is_bounded_by_its_packed_size() -> None:
    pages, text = pdf_pages(pdf_of(1, text=b"a" * 40_000_000))
    assert pages == 1
    assert 0 < text < 1_000_000


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_are_counted(noise: bytes, at: int) -> None:
    whole = pdf_of(2, text=b"words", packed=True)
    pages, text = pdf_pages(whole[:at] + noise + whole[at:])
    assert 1 <= pages <= MOST_PAGES
    assert text >= 0


def test_a_page_without_spaces_between_the_words_is_a_page() -> None:
    assert pdf_pages(re.sub(rb"/Type /Page", b"/Type/Page", pdf_of(4)))[0] == 4


def test_streams_without_an_end_are_read_once() -> None:
    pages, text = pdf_pages(b"stream\n" * 100_000)
    assert (pages, text <= 4 * 700_000) == (1, True)


def test_more_streams_than_are_looked_at_are_bounded_by_the_bytes() -> None:
    data = b"stream\nendstream\n" * (MOST_STREAMS + 1)
    assert pdf_pages(data)[0] == len(data) // BYTES_OF_HIDDEN_PAGE


def test_strings_that_never_end_are_read_once_and_bounded_by_their_stream() -> None:
    for content in (b"(" + b"\\(" * 200_000, b"(" * 200_000, b"((" * 100_000 + b"))" * 100_000, b"<0" * 200_000):
        file = b"%PDF-1.4 /Type /Page obj << >> stream\n" + content + b"\nendstream"
        pages, text = pdf_pages(file)
        assert pages == 1
        assert text >= len(content) or content.startswith(b"<")


def test_text_behind_a_nested_parenthesis_is_counted() -> None:
    file = b"%PDF-1.4 /Type /Page obj << >> stream\nBT (()" + b"a" * 5_000 + b") Tj ET\nendstream"
    assert pdf_pages(file)[1] >= 5_000
