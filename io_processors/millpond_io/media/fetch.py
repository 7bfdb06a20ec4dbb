"""Fetching a file from a host that is allowed: the address is checked where the connection is made, and it is that one.

The name is resolved once for each connection, and one of the addresses that were checked is connected to, so that a
name whose address changes (DNS rebinding) leads nowhere else. Proxies of the environment are not used.
"""

import http.client
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin

from millpond.types.errors import InvalidInputError
from millpond_io.media.addresses import is_public

logger = logging.getLogger(__name__)
PARAMETER = "multi_modal_data"
# The one reading of a URL, by which a host is both allowed and connected to: no user, no backslash, nothing but ASCII.
URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?"
    r"(?P<target>[/?][!-\"$-\[\]-_a-~]*)?(?:#.*)?",
    re.IGNORECASE | re.ASCII,
)
HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "millpond"}
PORTS = {"http": 80, "https": 443}
LONGEST_URL = 4096
REDIRECTS = (301, 302, 303, 307, 308)
OK = 200
PIECE = 2**16
SHORTEST = 0.001  # seconds: a socket takes 0 for no wait at all
FAILED = "the image could not be fetched from its URL"
MALFORMED = "the URL of an image must be http(s)://host/path with a plain host name, and at most 4096 characters"


@dataclass(frozen=True)
class Address:
    """Where a connection goes: what ``socket`` takes."""

    family: socket.AddressFamily
    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a URL says."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def url(self) -> str:
        """The URL again, without a fragment."""
        return f"{self.scheme}://{self.host}:{self.port}{self.target}"


def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host."""
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [Address(family, str(address[0]), port) for family, _, _, _, address in found]


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Fetches small files.

    Attributes:
        domains: The hosts that are allowed; ``*.example.org`` for those below one, ``*`` for all.
        largest: The most bytes of a file.
        seconds: The longest that all of it may take, redirects included.
        redirects: The most redirects; each is checked like the first URL.
        resolve: The addresses of a host and a port.
        is_allowed: Whether an address may be connected to.
    """

    domains: Sequence[str]
    largest: int
    seconds: float = 5.0
    redirects: int = 2
    resolve: Callable[[str, int], list[Address]] = field(default=resolve)
    is_allowed: Callable[[str], bool] = field(default=is_public)

    def fetch(self, url: str) -> bytes:
        """The file at a URL, whose type must be that of an image.

        Raises:
            InvalidInputError: If the host is not allowed, or there is no such file, or it is too large or too slow.
        """
        place = self._read(url)
        end = time.monotonic() + self.seconds
        for _ in range(self.redirects + 1):
            found = self._ask(place, end)
            if time.monotonic() >= end:  # it was cut off then, though it may look whole
                raise self._late()
            if isinstance(found, bytes):
                return found
            place = self._read(found, before=place)
        raise _failure(f"it redirects more than {self.redirects} times")

    def _read(self, url: str, *, before: Place | None = None) -> Place:
        """What a URL says; behind another, it must not lead from https to http.

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
        """The file, or the URL that it is redirected to."""
        try:
            with self._connected(place, end) as connection:
                connection.request("GET", place.target, headers={"Host": place.host, **HEADERS})
                with connection.getresponse() as response:
                    return self._answer(response, place)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= end:
                raise self._late() from None
            if isinstance(error, InvalidInputError):
                raise
            logger.info("%s cannot be fetched: %r", place.url, error)
            raise _failure("") from None

    def _late(self) -> InvalidInputError:
        return _failure(f"it took longer than {self.seconds:g} s")

    def _answer(self, response: http.client.HTTPResponse, place: Place) -> bytes | str:
        if response.status in REDIRECTS:
            target = response.headers.get("Location", "")
            if not target.isascii() or not target.isprintable():  # which joining would take out in silence
                raise InvalidInputError(MALFORMED, parameter=PARAMETER)
            return urljoin(place.url, target)
        kind = response.headers.get_content_type()
        encoded = response.headers.get("Content-Encoding", "identity").lower() != "identity"
        if response.status != OK or encoded or not kind.startswith("image/"):
            logger.info("%s gives status %d, type %s", place.url, response.status, kind)
            raise _failure("the answer is no image")
        content = bytearray()
        while len(content) + (response.length or 0) <= self.largest and (piece := response.read(PIECE)):
            content += piece
        if len(content) + (response.length or 0) > self.largest:
            raise _failure(f"it has more than {self.largest} bytes")
        if response.length:
            raise http.client.IncompleteRead(bytes(content))
        return bytes(content)

    @contextmanager
    def _connected(self, place: Place, end: float) -> Iterator[http.client.HTTPConnection]:
        """A connection that is cut off when the time is over, whatever happens on it."""
        opened = self._open(place, end)
        with opened if place.scheme == "http" else _secured(opened, place.host, end) as made:
            timer = threading.Timer(max(end - time.monotonic(), 0.0), _cut, (made,))
            timer.daemon = True
            timer.start()
            connection = http.client.HTTPConnection(place.host, place.port)
            connection.sock = made
            try:
                yield connection
            finally:
                timer.cancel()

    def _open(self, place: Place, end: float) -> socket.socket:
        """A socket to one of the host's addresses, all of which must be allowed."""
        addresses = _within(end, self.resolve, place.host, place.port)
        if not addresses or not all(self.is_allowed(address.host) for address in addresses):
            logger.info("%s leads to %s, which may not be connected to", place.host, addresses)
            raise _failure("its host is not on the public internet")
        fault: OSError = TimeoutError()
        for address in addresses:
            left = end - time.monotonic()
            if left <= 0:
                break
            opened = socket.socket(address.family, socket.SOCK_STREAM)
            opened.settimeout(left)
            try:
                opened.connect((address.host, address.port))
            except OSError as error:
                opened.close()
                fault = error
            else:
                return opened
        raise fault


def _within(end: float, function: Callable[[str, int], list[Address]], host: str, port: int) -> list[Address]:
    """What a function gives that cannot be told to hurry, such as the resolver.

    Raises:
        OSError: If it fails, or takes too long.
    """
    found: list[list[Address] | Exception] = []

    def call() -> None:
        try:
            found.append(function(host, port))
        except (OSError, ValueError) as error:
            found.append(error)

    thread = threading.Thread(target=call, name="millpond-resolve", daemon=True)
    thread.start()
    thread.join(max(end - time.monotonic(), 0.0))
    if not found:
        raise TimeoutError
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _secured(opened: socket.socket, host: str, end: float) -> ssl.SSLSocket:
    """TLS on a connection, the certificate checked for the host's name, in what time is left of that to connect."""
    try:
        opened.settimeout(max(end - time.monotonic(), SHORTEST))
        return ssl.create_default_context().wrap_socket(opened, server_hostname=host.strip("[]"))
    except BaseException:
        opened.close()
        raise


def _cut(made: socket.socket) -> None:
    try:
        socket.socket.shutdown(made, socket.SHUT_RDWR)  # of a TLS socket too: who reads from it is not asked
    except OSError:
        logger.debug("the connection is closed already")


def _failure(why: str) -> InvalidInputError:
    return InvalidInputError(f"{FAILED}: {why}" if why else FAILED, parameter=PARAMETER)
