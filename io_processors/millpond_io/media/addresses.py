"""Addresses that clients may have a server connect to: public ones, in every notation."""

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

# What ``is_global`` says of these is not enough: they lead to addresses that stand inside of them, or to nobody's.
PUBLIC_V6 = IPv6Network("2000::/3")
PROTOCOLS_V4 = IPv4Network("192.0.0.0/24")  # RFC 6890
NOT_PUBLIC_V6 = (
    IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052)
    IPv6Network("64:ff9b:1::/48"),  # NAT64 of a network's own (RFC 8215)
    IPv6Network("2001::/23"),  # Teredo (RFC 4380), and other protocols' own
    IPv6Network("2002::/16"),  # 6to4 (RFC 3056)
    IPv6Network("3fff::/20"),  # of documents (RFC 9637)
)


class Address(NamedTuple):
    """Where a connection goes."""

    host: str
    port: int


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, as the system's resolver knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [Address(str(address[0]), port) for *_, address in found]


def is_public(text: str) -> bool:
    """Return whether an address, as the resolver writes it, is one of the public internet."""
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
    named = address.is_multicast or address.is_reserved or address in PROTOCOLS_V4
    return address.is_global and not named


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address not in PUBLIC_V6 or not address.is_global:
        return False
    return not any(address in network for network in NOT_PUBLIC_V6)
