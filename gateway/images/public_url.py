"""URLs that a stranger may make this process fetch: a strict parser, and which addresses are public.

Rule: each URL is parsed once, and the connection goes to exactly what was checked. A host that is an address in any
notation (127.1, 0x7f000001, 2130706433, full-width digits) is converted to the one address that it means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote, urljoin

Address = IPv4Address | IPv6Address

LONGEST_URL = 8_192
LONGEST_SHOWN = 200
DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30})://([^/?#]*)([^#]*)(?:#.*)?", re.ASCII)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]{1,45}\]|[^:\[\]%]{1,255})(?::([0-9]{0,5}))?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.ASCII)
_LOCAL_DOMAINS = ("localhost", "local", "internal", "localdomain", "lan", "home.arpa", "corp", "intranet")

# IANA's special-purpose registries, and 168.63.129.16: Azure's own host service on a public address.
_PRIVATE_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")
"""All assigned global addresses; loopback, link-local, unique-local (fd00:ec2::254) and multicast are outside this
range.
"""
_PRIVATE_IPV6 = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20", "3ffe::/16")
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")


class BadUrl(ValueError):
    """The text cannot be read as a URL to fetch. The message continues "The URL", and quotes nothing from the text."""


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """A strictly parsed URL.

    Attributes:
        scheme: in lower case.
        host: in lower case and ASCII, or an address in its one canonical form, without brackets.
        address: the address, if the host is an address in any notation.
        target: path and query, percent-encoded.
    """

    scheme: str
    host: str
    port: int
    target: str
    address: Address | None

    @property
    def bracketed_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def text(self) -> str:
        port = "" if DEFAULT_PORTS.get(self.scheme) == self.port else f":{self.port}"
        return f"{self.scheme}://{self.bracketed_host}{port}{self.target}"

    @property
    def shown(self) -> str:
        """The URL for messages and logs: without the query, which may be a secret, and cut at 200 characters."""
        bare = self.text.partition("?")[0]
        return bare if len(bare) <= LONGEST_SHOWN else f"{bare[: LONGEST_SHOWN - 3]}..."


def parse_url(text: str, base: PublicUrl | None = None) -> PublicUrl:
    """Parse a URL; with `base`, a redirect's location, which may be relative. Raises BadUrl."""
    if len(text) > LONGEST_URL:
        raise BadUrl(f"has {len(text):,} characters; at most {LONGEST_URL:,} are accepted")
    if any(character <= " " or character in "\\\x7f" or not character.isprintable() for character in text):
        raise BadUrl("has a space, a backslash or a control character in it")
    if base is not None:
        try:
            text = urljoin(base.text, text)
        except ValueError as error:
            raise BadUrl("redirects to a malformed URL") from error
    match = _URL.fullmatch(text)
    if match is None:
        raise BadUrl("does not read `https://host/path`")
    scheme, authority, target = match[1].lower(), match[2], match[3]
    if "@" in authority:
        raise BadUrl("has a user name or password in it")
    host, port = _host_and_port(authority, scheme)
    address = _as_address(host)
    encoded = quote(target if target.startswith("/") else f"/{target}", safe="/?:@!$&'()*+,;=-._~%[]")
    return PublicUrl(scheme, host if address is None else str(address), port, encoded, address)


def is_public(address: Address) -> bool:
    """Return whether an address is on the public internet: not private, local, shared, reserved, multicast or metadata.

    An address that stands for an IPv4 address (mapped, NAT64, 6to4) is checked as that IPv4 address.
    """
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _PRIVATE_IPV4)
    if address.scope_id is not None:
        return False
    if address in _MAPPED or address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address in _SIX_TO_FOUR:
        return is_public(IPv4Address(int(address) >> 80 & 0xFFFF_FFFF))
    return address in _GLOBAL_IPV6 and not any(address in network for network in _PRIVATE_IPV6)


def is_public_text(address: str) -> bool:
    """Return `is_public` of an address as a resolver writes it; text that is not an address is not public."""
    try:
        return is_public(ip_address(address))
    except ValueError:
        return False


def is_local_name(host: str) -> bool:
    """Return whether a host name belongs to a machine or local network, not to the public DNS."""
    return "." not in host or host.endswith(tuple(f".{domain}" for domain in _LOCAL_DOMAINS))


def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise BadUrl("has no host that can be read")
    port = int(match[2]) if match[2] else DEFAULT_PORTS.get(scheme, 0)
    if not 0 < port < 65_536 and (match[2] or scheme in DEFAULT_PORTS):
        raise BadUrl(f"has no port that exists ({port})")
    if match[1].startswith("["):
        return match[1][1:-1].lower(), port
    try:  # also folds full-width and circled digits and dots, which a resolver would fold too
        host = match[1].encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise BadUrl("has no host that can be read") from error
    return host.removesuffix("."), port


def _as_address(host: str) -> Address | None:
    """Return the address that a host means, or None for a name. Raises BadUrl for anything else."""
    if ":" in host:
        try:
            return IPv6Address(host)
        except ValueError as error:
            raise BadUrl("has no host that can be read") from error
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadUrl("has no host that can be read")
    if _NUMBER.fullmatch(labels[-1]) is None:
        return None
    return _loose_ipv4(labels)


def _loose_ipv4(labels: list[str]) -> IPv4Address:
    """Parse as inet_aton and browsers do: one to four parts, decimal, octal or hex; the last part fills the remaining
    bytes.
    """
    if len(labels) > 4 or not all(_NUMBER.fullmatch(label) for label in labels):
        raise BadUrl("has no host that can be read")
    try:
        *parts, last = (_number(label) for label in labels)
    except ValueError as error:
        raise BadUrl("has no host that can be read") from error
    if any(part > 255 for part in parts) or last >= 256 ** (4 - len(parts)):
        raise BadUrl("has no host that can be read")
    value = last + sum(part << 8 * (3 - index) for index, part in enumerate(parts))
    return IPv4Address(value)


def _number(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8) if len(label) > 1 and label.startswith("0") else int(label)
