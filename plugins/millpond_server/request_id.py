"""The id of a request: the one it brings if that is plain, else one made here."""

import re
from collections.abc import Iterable

from millpond_server.call import new_id

PLAIN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
HEADER = b"x-request-id"


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id of a request with these headers."""
    brought = next((value for name, value in headers if name == HEADER), b"")
    return brought.decode("ascii") if PLAIN.fullmatch(brought) else new_id()
