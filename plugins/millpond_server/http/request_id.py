"""The id of a request: the one it brings if that is plain, else one made here."""

import random
import re
from collections.abc import Iterable

PLAIN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
HEADER = b"x-request-id"


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id of a request with these headers."""
    brought = next((value for name, value in headers if name == HEADER), b"")
    return brought.decode("ascii") if is_plain(brought) else new_id()


def is_plain(brought: bytes) -> bool:
    """Return True if the value of the header is taken as an id."""
    return PLAIN.fullmatch(brought) is not None


def new_id() -> str:
    """Return an id for a request that brings none."""
    return f"{random.getrandbits(128):032x}"
