"""Media: reads the image of a data URL, of a ``file://`` URL below an allowed folder, or of an allowed host."""

import binascii
import re
from collections.abc import Sequence

from millpond.types.errors import InvalidInputError
from millpond_io.images.files import PARAMETER, UNTRUSTED_LIMITS, file_too_large
from millpond_io.media.fetch import Fetcher
from millpond_io.media.local_files import SCHEME, read_below
from millpond_io.media.prefetch import fetch_image

DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+(?:;[a-z0-9.+-]+=[^;,]*)*;base64,", re.IGNORECASE)  # RFC 2397
MAX_HEADER_CHARS = 256
BASE64_CHUNK_CHARS = 2**18  # decoded at a time, because decoding holds the GIL
INVALID_BASE64 = "the data: URL of an image is not valid base64"
UNSUPPORTED_URL = (
    "the URL of an image must begin with data:image/...;base64, or http:// or https:// or file://; a path must be a "
    "pathlib.Path"
)


class Media:
    """Reads untrusted URLs, from allowed hosts and an allowed folder only.

    Attributes:
        fetcher: Downloads from hosts.
        folder: The folder with files that may be read; empty for none.
    """

    def __init__(self, domains: Sequence[str], folder: str) -> None:
        self.fetcher = Fetcher(domains=tuple(domains), max_bytes=UNTRUSTED_LIMITS.max_bytes)
        self.folder = folder

    def read(self, url: str) -> bytes:
        """Return the contents of a URL.

        Raises:
            InvalidInputError: If the URL is not supported or not allowed, or cannot be read.
        """
        header = url[:MAX_HEADER_CHARS]
        match = DATA_URL.match(header)
        if match is not None:
            return _decode_base64(url, match.end())
        scheme = header.lower()
        if scheme.startswith(("http://", "https://")):
            return fetch_image(url, self.fetcher.fetch)
        if scheme.startswith(SCHEME):
            return read_below(self.folder, url, max_bytes=UNTRUSTED_LIMITS.max_bytes)
        raise InvalidInputError(UNSUPPORTED_URL, parameter=PARAMETER)


def _decode_base64(url: str, start: int) -> bytes:
    size = (len(url) - start) * 3 // 4
    if size > UNTRUSTED_LIMITS.max_bytes + 2:  # an estimate that includes the padding
        raise file_too_large(size, UNTRUSTED_LIMITS)
    content = bytearray()
    for position in range(start, len(url), BASE64_CHUNK_CHARS):
        is_last = position + BASE64_CHUNK_CHARS >= len(url)
        try:
            chunk = binascii.a2b_base64(url[position : position + BASE64_CHUNK_CHARS], strict_mode=True)
        except ValueError:
            raise InvalidInputError(INVALID_BASE64, parameter=PARAMETER) from None
        if not is_last and len(chunk) != BASE64_CHUNK_CHARS * 3 // 4:  # padding before the end
            raise InvalidInputError(INVALID_BASE64, parameter=PARAMETER)
        content += chunk
    return bytes(content)
