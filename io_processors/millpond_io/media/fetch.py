"""Fetching images from hosts that are allowed: which URLs, and what of their answers is read.

Proxies of the environment are not used, and no cookies or credentials are sent.
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
# The one reading of a URL, by which a host is both allowed and connected to: no user, no backslash, nothing but ASCII.
URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?"
    r"(?P<target>[/?][!-\"$-\[\]-_a-~]*)?(?:#.*)?",
    re.IGNORECASE | re.ASCII,
)
PORTS = {"http": 80, "https": 443}
LONGEST_URL = 4096
REDIRECTS = (301, 302, 303, 307, 308)
OK = 200
FAILED = "the image could not be fetched from its URL"
MALFORMED = "the URL of an image must be http(s)://host/path with a plain host name, and at most 4096 characters"


@dataclass(frozen=True, kw_only=True)
class Place:
    """The parts of a URL."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def url(self) -> str:
        """The URL again, without a fragment."""
        return f"{self.scheme}://{self.host}:{self.port}{self.target}"


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Fetches small files.

    Attributes:
        domains: The hosts that are allowed; ``*.example.org`` for those below one, ``*`` for all.
        largest: The most bytes of a file.
        seconds: The longest that all of it may take, redirects included.
        redirects: The most redirects; each is checked like the first URL.
        resolve: Returns the addresses of a host and a port.
        is_allowed: Returns whether an address may be connected to.
    """

    domains: Sequence[str]
    largest: int
    seconds: float = 5.0
    redirects: int = 2
    resolve: Callable[[str, int], list[Address]] = field(default=resolve)
    is_allowed: Callable[[str], bool] = field(default=is_public)

    def fetch(self, url: str) -> bytes:
        """Return the file at a URL, whose type must be that of an image.

        Raises:
            InvalidInputError: If the host is not allowed, or there is no such file, or it is too large or too slow.
            MissingDependencyError: If httpcore is not installed.
        """
        place = self._read(url)
        end = time.monotonic() + self.seconds
        for _ in range(self.redirects + 1):
            found = self._ask(place, end)
            if time.monotonic() >= end:
                raise self._late()
            if isinstance(found, bytes):
                return found
            place = self._read(found, before=place)
        raise _failure(f"it redirects more than {self.redirects} times")

    def _read(self, url: str, *, before: Place | None = None) -> Place:
        """Return what a URL says; behind another, it must not lead from https to http.

        Raises:
            InvalidInputError: If it is malformed, or its host is not allowed.
        """
        match = URL.fullmatch(url) if len(url) <= LONGEST_URL else None
        if match is None:
            raise InvalidInputError(MALFORMED, parameter=PARAMETER)
        scheme, host = match["scheme"].lower(), match["host"].lower().rstrip(".")
        port = int(match["port"] or PORTS[scheme])
        if not self._is_allowed_host(host):
            known = "allowed_media_domains (of a server: --allowed-media-domains) names those that are"
            message = f"images may not be fetched from the host {host!r}: {known}"
            raise InvalidInputError(message, parameter=PARAMETER)
        if port != PORTS[scheme]:
            message = f"images may be fetched from the ports 80 (http) and 443 (https) alone; got {port}"
            raise InvalidInputError(message, parameter=PARAMETER)
        if before is not None and (before.scheme, scheme) == ("https", "http"):
            raise _failure("it redirects from https to http")
        target = match["target"] or "/"
        return Place(scheme=scheme, host=host, port=port, target=target if target.startswith("/") else f"/{target}")

    def _is_allowed_host(self, host: str) -> bool:
        for name in (domain.lower().rstrip(".") for domain in self.domains):
            if name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])):
                return True
        return False

    def _ask(self, place: Place, end: float) -> bytes | str:
        """Return the file, or the URL that it is redirected to."""
        try:
            from millpond_io.media import connection  # noqa: PLC0415  httpcore, only for who fetches images
        except ImportError as error:
            message = "images from URLs need httpcore: pip install httpcore2"
            raise MissingDependencyError(message, parameter=PARAMETER) from error
        backend = connection.CheckedBackend(end, self.resolve, self.is_allowed)
        try:
            with connection.ask(backend, place.scheme, place.host, place.port, place.target) as response:
                return self._answer(response, place)
        except connection.ForbiddenAddressError:
            raise _failure("its host is not on the public internet") from None
        except connection.FAULTS as error:
            if time.monotonic() >= end:
                raise self._late() from None
            if isinstance(error, InvalidInputError):
                raise
            logger.info("%s cannot be fetched: %r", place.url, error)
            raise _failure("") from None

    def _late(self) -> InvalidInputError:
        return _failure(f"it took longer than {self.seconds:g} s")

    def _answer(self, response: "Response", place: Place) -> bytes | str:
        headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        if response.status in REDIRECTS:
            target = headers.get(b"location", "")
            if not target.isascii() or not target.isprintable():  # which joining would take out in silence
                raise InvalidInputError(MALFORMED, parameter=PARAMETER)
            return urljoin(place.url, target)
        if response.status != OK or not _is_image(headers):
            logger.info("%s gives status %d, type %s", place.url, response.status, headers.get(b"content-type"))
            raise _failure("the answer is no image")
        content = bytearray()
        for piece in response.iter_stream():
            content += piece
            if len(content) > self.largest:
                raise _failure(f"it has more than {self.largest} bytes")
        return bytes(content)


def _is_image(headers: Mapping[bytes, str]) -> bool:
    """Return whether an answer is an image as it is, not compressed once more."""
    kind, encoding = headers.get(b"content-type", ""), headers.get(b"content-encoding", "identity")
    return kind.lower().startswith("image/") and encoding.lower() == "identity"


def _failure(why: str) -> InvalidInputError:
    return InvalidInputError(f"{FAILED}: {why}" if why else FAILED, parameter=PARAMETER)
