"""URLs in prompts: bytes in the URL itself, a file below one folder, or a file of an allowed host."""

import binascii
import re
from collections.abc import Sequence

from millpond.pipeline.remote import fetch_image
from millpond.types.errors import InvalidInputError
from millpond_io.images.files import OF_OTHERS, PARAMETER, too_large
from millpond_io.media.fetch import Fetcher
from millpond_io.media.local_files import SCHEME, read_below

DATA = re.compile(r"data:image/[a-z0-9.+-]+(?:;[a-z0-9.+-]+=[^;,]*)*;base64,", re.IGNORECASE)  # RFC 2397
LONGEST_HEAD = 256
PIECE = 2**18  # characters of base64 that are decoded at a time: meanwhile no other thread of the program goes on
NO_BASE64 = "the data: URL of an image is no base64"
KNOWN = (
    "the URL of an image must begin with data:image/...;base64, or http:// or https:// or file://; a path is given as "
    "a pathlib.Path"
)


class Media:
    """Reads what URLs lead to. A URL is untrusted: nothing is fetched or read that was not allowed beforehand.

    Attributes:
        fetcher: Fetches from hosts.
        folder: The folder that files are read from; empty for none.
    """

    def __init__(self, domains: Sequence[str], folder: str) -> None:
        self.fetcher = Fetcher(domains=tuple(domains), largest=OF_OTHERS.size)
        self.folder = folder

    def read(self, url: str) -> bytes:
        """The bytes that a URL leads to.

        Raises:
            InvalidInputError: If it is of no known kind, or not allowed, or there is nothing.
        """
        head = url[:LONGEST_HEAD]
        match = DATA.match(head)
        if match is not None:
            return _of_base64(url, match.end())
        scheme = head.lower()
        if scheme.startswith(("http://", "https://")):
            return fetch_image(url, self.fetcher.fetch)
        if scheme.startswith(SCHEME):
            return read_below(self.folder, url, largest=OF_OTHERS.size)
        raise InvalidInputError(KNOWN, parameter=PARAMETER)


def _of_base64(url: str, start: int) -> bytes:
    size = (len(url) - start) * 3 // 4
    if size > OF_OTHERS.size + 2:  # before it is decoded; with padding
        raise too_large(size, OF_OTHERS)
    content = bytearray()
    for place in range(start, len(url), PIECE):
        last = place + PIECE >= len(url)
        try:
            part = binascii.a2b_base64(url[place : place + PIECE], strict_mode=True)
        except ValueError:
            raise InvalidInputError(NO_BASE64, parameter=PARAMETER) from None
        if not last and len(part) != PIECE * 3 // 4:  # it was padded, and goes on
            raise InvalidInputError(NO_BASE64, parameter=PARAMETER)
        content += part
    return bytes(content)
