"""Connections of httpcore to checked addresses, within one span of time.

A name is resolved once for each connection, and one of the addresses that were checked is connected to, so that a name
whose address changes (DNS rebinding) leads nowhere else.
"""

import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from httpcore2 import (
    SOCKET_OPTION,
    URL,
    ConnectError,
    ConnectTimeout,
    HTTPConnection,
    NetworkBackend,
    NetworkError,
    NetworkStream,
    ProtocolError,
    Response,
    SyncBackend,
    TimeoutException,
)

from millpond_io.media.addresses import Address

logger = logging.getLogger(__name__)
HEADERS: dict[str | bytes, str | bytes] = {
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "millpond",
}
FAULTS = (OSError, ValueError, NetworkError, ProtocolError, TimeoutException)
SHORTEST = 0.001  # seconds: a socket takes 0 for no wait at all


class ForbiddenAddressError(Exception):
    """A host has an address that may not be connected to, or none."""


@contextmanager
def ask(backend: "CheckedBackend", scheme: str, host: str, port: int, target: str) -> Iterator[Response]:
    """Ask for a file, and yield the answer, whose body is not read yet."""
    bare = host.strip("[]")
    url = URL(scheme=scheme, host=bare, port=port, target=target)
    context = ssl.create_default_context() if scheme == "https" else None
    connection = HTTPConnection(url.origin, ssl_context=context, network_backend=backend)
    try:
        with connection.stream("GET", url, headers={"Host": host, **HEADERS}) as response:
            yield response
    finally:
        connection.close()


class CheckedBackend(NetworkBackend):
    """Opens connections to hosts all of whose addresses are allowed."""

    def __init__(
        self, end: float, resolve: Callable[[str, int], list[Address]], is_allowed: Callable[[str], bool]
    ) -> None:
        """Set the limits.

        Args:
            end: When all connections end, by the monotonic clock.
            resolve: Returns the addresses of a host and a port.
            is_allowed: Returns whether an address may be connected to.
        """
        self.end = end
        self.resolve = resolve
        self.is_allowed = is_allowed

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  the time is that of all of it
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> NetworkStream:
        """Connect to one of a host's addresses.

        Raises:
            ForbiddenAddressError: If one of them may not be connected to.
            ConnectError: If the host has no address, or none answers.
            ConnectTimeout: If the time is over.
        """
        addresses = self._resolved(host, port)
        if not addresses or not all(self.is_allowed(address.host) for address in addresses):
            logger.info("%s leads to %s, which may not be connected to", host, addresses)
            raise ForbiddenAddressError
        fault: Exception = ConnectTimeout()
        for address in addresses:
            if time.monotonic() >= self.end:
                break
            try:
                stream = SyncBackend().connect_tcp(address.host, address.port, _left(self.end))
            except (ConnectError, ConnectTimeout) as error:
                fault = error
            else:
                return TimedStream(stream, self.end)
        raise fault

    def _resolved(self, host: str, port: int) -> list[Address]:
        """Return the addresses of a host, asked for in a thread, for the resolver cannot be told to hurry."""
        found: list[list[Address] | Exception] = []

        def ask() -> None:
            try:
                found.append(self.resolve(host, port))
            except (OSError, ValueError) as error:
                found.append(error)

        thread = threading.Thread(target=ask, name="millpond-resolve", daemon=True)
        thread.start()
        thread.join(max(self.end - time.monotonic(), 0.0))
        if not found:
            raise ConnectTimeout
        if isinstance(found[0], Exception):
            raise ConnectError from found[0]
        return found[0]


class TimedStream(NetworkStream):
    """A stream each of whose operations takes what is left of the time."""

    def __init__(self, stream: NetworkStream, end: float) -> None:
        self.stream = stream
        self.end = end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Read what has come."""
        return self.stream.read(max_bytes, _left(self.end))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Write all of the buffer."""
        self.stream.write(buffer, _left(self.end))

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> NetworkStream:
        """Return the stream over TLS, the certificate checked for the host's name."""
        return TimedStream(self.stream.start_tls(ssl_context, server_hostname, _left(self.end)), self.end)

    def get_extra_info(self, info: str) -> Any:
        """Return what is known of the connection."""
        return self.stream.get_extra_info(info)


def _left(end: float) -> float:
    return max(end - time.monotonic(), SHORTEST)
