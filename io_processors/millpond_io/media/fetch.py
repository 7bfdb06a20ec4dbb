"""Fetcher: downloads images from allowed hosts, with checks of the URL, redirects, addresses, size and time.

Proxy settings of the environment are ignored, and no cookies or credentials are sent.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from millpond.types.errors import InvalidInputError, MissingDependencyError
from millpond_io.media.addresses import Address, is_public, resolve

if TYPE_CHECKING:
    from httpcore2 import Response

logger = logging.getLogger(__name__)
PARAMETER = "multi_modal_data"
# The URL is parsed only here, so that the checked host is the host that is connected to. Users, backslashes and
# characters outside ASCII are not allowed.
URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?"
    r"(?P<target>[/?][!-\"$-\[\]-_a-~]*)?(?:#.*)?",
    re.IGNORECASE | re.ASCII,
)
PORTS = {"http": 80, "https": 443}
MAX_URL_CHARS = 4096
REDIRECTS = (301, 302, 303, 307, 308)
OK = 200
FAILED = "the image could not be fetched from its URL"
MALFORMED = "the URL of an image must be http(s)://host/path with a plain host name, and at most 4096 characters"


@dataclass(frozen=True, kw_only=True)
class ParsedUrl:
    """The parts of a URL."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def url(self) -> str:
        """The URL without a fragment."""
        return f"{self.scheme}://{self.host}:{self.port}{self.target}"


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Downloads small files.

    Attributes:
        domains: The allowed hosts; ``*.example.org`` for subdomains, ``*`` for all.
        max_bytes: The maximum size of a file.
        timeout_s: The maximum duration of a download, including redirects.
        max_redirects: The maximum number of redirects; each is checked like the first URL.
        resolve: Returns the addresses of a host and a port.
        is_allowed: Returns True if connections to an address are allowed.
    """

    domains: Sequence[str]
    max_bytes: int
    timeout_s: float = 5.0
    max_redirects: int = 2
    resolve: Callable[[str, int], list[Address]] = field(default=resolve)
    is_allowed: Callable[[str], bool] = field(default=is_public)

    def fetch(self, url: str) -> bytes:
        """Download an image.

        Raises:
            InvalidInputError: If the host is not allowed, the download fails or takes too long, or the file is not an
                image or is too large.
            MissingDependencyError: If httpcore is not installed.
        """
        parsed = self._parse(url)
        deadline = time.monotonic() + self.timeout_s
        for _ in range(self.max_redirects + 1):
            content_or_target = self._get(parsed, deadline)
            if time.monotonic() >= deadline:
                raise self._timeout()
            if isinstance(content_or_target, bytes):
                return content_or_target
            parsed = self._parse(content_or_target, redirected_from=parsed)
        raise _failure(f"it redirects more than {self.max_redirects} times")

    def _parse(self, url: str, *, redirected_from: ParsedUrl | None = None) -> ParsedUrl:
        """Parse and check a URL.

        Raises:
            InvalidInputError: If it is malformed, its host is not allowed, or it redirects from https to http.
        """
        match = URL.fullmatch(url) if len(url) <= MAX_URL_CHARS else None
        if match is None:
            raise InvalidInputError(MALFORMED, parameter=PARAMETER)
        scheme, host = match["scheme"].lower(), match["host"].lower().rstrip(".")
        port = int(match["port"] or PORTS[scheme])
        if not self._is_allowed_host(host):
            option = "allowed_media_domains (of a server: --allowed-media-domains)"
            message = f"images may not be fetched from the host {host!r}: it is not in {option}"
            raise InvalidInputError(message, parameter=PARAMETER)
        if port != PORTS[scheme]:
            message = f"images may only be fetched from the ports 80 (http) and 443 (https); got {port}"
            raise InvalidInputError(message, parameter=PARAMETER)
        if redirected_from is not None and (redirected_from.scheme, scheme) == ("https", "http"):
            raise _failure("it redirects from https to http")
        target = match["target"] or "/"
        return ParsedUrl(scheme=scheme, host=host, port=port, target=target if target.startswith("/") else f"/{target}")

    def _is_allowed_host(self, host: str) -> bool:
        for name in (domain.lower().rstrip(".") for domain in self.domains):
            if name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])):
                return True
        return False

    def _get(self, url: ParsedUrl, deadline: float) -> bytes | str:
        """Return the file, or the target of a redirect."""
        try:
            from millpond_io.media import connection  # noqa: PLC0415  imports httpcore, an optional dependency
        except ImportError as error:
            message = "images from URLs need httpcore: pip install httpcore2"
            raise MissingDependencyError(message, parameter=PARAMETER) from error
        backend = connection.CheckedBackend(deadline, self.resolve, self.is_allowed)
        try:
            with connection.get(backend, url.scheme, url.host, url.port, url.target) as response:
                return self._read(response, url)
        except connection.ForbiddenAddressError:
            raise _failure("its host is not on the public internet") from None
        except connection.CONNECTION_ERRORS as error:
            if time.monotonic() >= deadline:
                raise self._timeout() from None
            if isinstance(error, InvalidInputError):
                raise
            logger.info("%s cannot be fetched: %r", url.url, error)
            raise _failure("") from None

    def _timeout(self) -> InvalidInputError:
        return _failure(f"it took longer than {self.timeout_s:g} s")

    def _read(self, response: "Response", url: ParsedUrl) -> bytes | str:
        headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        if response.status in REDIRECTS:
            target = headers.get(b"location", "")
            if not target.isascii() or not target.isprintable():  # urljoin would silently remove some characters
                raise InvalidInputError(MALFORMED, parameter=PARAMETER)
            return urljoin(url.url, target)
        if response.status != OK or not _is_image(headers):
            logger.info("%s returned status %d, type %s", url.url, response.status, headers.get(b"content-type"))
            raise _failure("the response is not an image")
        content = bytearray()
        for chunk in response.iter_stream():
            content += chunk
            if len(content) > self.max_bytes:
                raise _failure(f"it has more than {self.max_bytes} bytes")
        return bytes(content)


def _is_image(headers: Mapping[bytes, str]) -> bool:
    """Return True if a response is an image without content encoding."""
    content_type, encoding = headers.get(b"content-type", ""), headers.get(b"content-encoding", "identity")
    return content_type.lower().startswith("image/") and encoding.lower() == "identity"


def _failure(reason: str) -> InvalidInputError:
    return InvalidInputError(f"{FAILED}: {reason}" if reason else FAILED, parameter=PARAMETER)
