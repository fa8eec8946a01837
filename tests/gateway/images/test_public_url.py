"""The strict reading of URLs, and the judgement of addresses in every notation."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.images.public_url import BadUrl, PublicUrl, is_local_name, is_public, is_public_text, parse_url


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7F.1",
        "0177.0.0.1",
        "017700000001",
        "0x7f.0x0.0x0.0x1",
        "127.0.0.1.",
        "１２７.０.０.１",  # full-width digits
        "①②⑦.⓪.⓪.①",  # circled digits
        "127。0。0。1",  # ideographic full stops
    ],
)
def test_every_notation_of_loopback_is_read_as_loopback(host: str) -> None:
    url = parse_url(f"http://{host}:8080/x")
    assert (url.host, url.port, url.address) == ("127.0.0.1", 8080, ip_address("127.0.0.1"))
    assert url.text == "http://127.0.0.1:8080/x"


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.255",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2002:c0a8:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "2606:4700::1%1",
    ],
)
def test_address_that_is_not_public_is_told(address: str) -> None:
    assert not is_public_text(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.167.1.1",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "2606:4700::1111",
        "2a00:1450:4001::1",
    ],
)
def test_public_address_is_told(address: str) -> None:
    assert is_public_text(address)


@given(st.ip_addresses(v=4))
def test_nothing_is_public_that_the_standard_library_calls_private(address: object) -> None:
    parsed = ip_address(str(address))
    if is_public(parsed):
        assert parsed.is_global
        assert not parsed.is_multicast


@given(st.ip_addresses(v=6))
def test_nothing_of_ipv6_is_public_that_the_standard_library_calls_private(address: object) -> None:
    parsed = ip_address(str(address))
    if is_public(parsed) and not str(parsed).startswith(("::ffff:", "64:ff9b::")):
        assert parsed.is_global
        assert not parsed.is_multicast


def test_an_address_that_is_none_is_not_public() -> None:
    assert not is_public_text("images.example")
    assert not is_public_text("")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "images.example/a.png",
        "//images.example/a.png",
        "https:/images.example/a.png",
        "https:images.example",
        "https://",
        "https:///etc/passwd",
        "file:///etc/passwd",
        "https://user@images.example/",
        "https://user:secret@images.example/",
        "https://images.example\\@127.0.0.1/",
        "https://127.0.0.1\\.images.example/",
        "https://images.example:0/",
        "https://images.example:65536/",
        "https://images.example:http/",
        "https://images.example:80:80/",
        "https://images.example:８０/",
        "https://images..example/",
        "https://.images.example/",
        "https://-images.example/",
        "https://images example/",
        "https://images.example/a b",
        "https://images.example/a\r\nHost: other",
        "https://images.example/\x00",
        "https://127.0.0.1%2f.images.example/",
        "https://[::1/",
        "https://::1/",
        "https://[fe80::1%25eth0]/",
        "https://[::1]x/",
        "https://[127.0.0.1]/",
        "https://1.2.3.4.5/",
        "https://256.1.1.1/",
        "https://1.2.3.256/",
        "https://4294967296/",
        "https://08.1.1.1/",
        "https://images.0x7f/",
        "https://example.127/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
        "https://images.example/" + "a" * 9_000,
        " https://images.example/",
        "https://images.example/\ud800",
    ],
)
def test_what_is_no_strict_url_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(BadUrl) as refusal:
        parse_url(url)
    assert "secret" not in str(refusal.value)
    assert "127" not in str(refusal.value)


def test_a_url_keeps_its_path_and_query() -> None:
    url = parse_url("HTTPS://Images.Example.:443/a%20b/ü.png?x=1&y=[2]#part")
    assert url == PublicUrl("https", "images.example", 443, "/a%20b/%C3%BC.png?x=1&y=[2]", None)
    assert url.text == "https://images.example/a%20b/%C3%BC.png?x=1&y=[2]"
    assert parse_url("https://images.example?x").target == "/?x"
    assert parse_url("https://[2606:4700::1]:444/").text == "https://[2606:4700::1]:444/"
    assert parse_url("https://b\u00fccher.example/").host == "xn--bcher-kva.example"


def test_a_url_is_shown_without_its_query_and_cut() -> None:
    url = parse_url("https://images.example/a.png?token=secret")
    assert url.shown == "https://images.example/a.png"
    long = parse_url("https://images.example/" + "a" * 1_000).shown
    assert len(long) == 200
    assert long.endswith("...")


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("/b.png", "https://images.example/b.png"),
        ("b.png?c", "https://images.example/a/b.png?c"),
        ("//other.example/b.png", "https://other.example/b.png"),
        ("http://127.1/", "http://127.0.0.1/"),
    ],
)
def test_a_redirect_is_read_from_where_it_stands(location: str, text: str) -> None:
    assert parse_url(location, base=parse_url("https://images.example/a/a.png")).text == text


@given(st.text(max_size=80), st.sampled_from(["", "http://", "https://[", "https://a@", "http://0x"]))
def test_any_text_is_read_or_refused(text: str, start: str) -> None:
    try:
        url = parse_url(start + text)
    except BadUrl:
        return
    assert parse_url(url.text) == url
    assert url.host.isascii()


@pytest.mark.parametrize(
    "host",
    ["localhost", "intranet", "metadata.google.internal", "a.localhost", "printer.local", "nas.home.arpa"],
)
def test_local_names_are_known_without_a_look_up(host: str) -> None:
    assert is_local_name(host)
    assert not is_local_name(f"{host}.example")
