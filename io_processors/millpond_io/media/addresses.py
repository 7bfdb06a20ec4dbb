"""Check that an IP address is public, so that requests cannot make a server connect to internal hosts."""

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

# ``is_global`` is not sufficient: some addresses contain another, possibly private address, or are reserved.
PUBLIC_V6 = IPv6Network("2000::/3")
PROTOCOLS_V4 = IPv4Network("192.0.0.0/24")  # RFC 6890
NOT_PUBLIC_V6 = (
    IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052)
    IPv6Network("64:ff9b:1::/48"),  # local-use NAT64 (RFC 8215)
    IPv6Network("2001::/23"),  # Teredo (RFC 4380) and other protocols
    IPv6Network("2002::/16"),  # 6to4 (RFC 3056)
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)


class Address(NamedTuple):
    """The address of a connection."""

    host: str
    port: int


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, from the resolver of the system."""
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [Address(str(address[0]), port) for *_, address in infos]


def is_public(text: str) -> bool:
    """Return True if an IP address, in the notation of the resolver, is public."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return _is_public_v4(address)
    if address.ipv4_mapped is not None:
        return _is_public_v4(address.ipv4_mapped)
    return _is_public_v6(address)


def _is_public_v4(address: IPv4Address) -> bool:
    is_special = address.is_multicast or address.is_reserved or address in PROTOCOLS_V4
    return address.is_global and not is_special


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address not in PUBLIC_V6 or not address.is_global:
        return False
    return not any(address in network for network in NOT_PUBLIC_V6)
