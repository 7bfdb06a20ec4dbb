"""Connections of httpcore to checked addresses, with a deadline.

A host name is resolved once per connection, and the connection uses one of the checked addresses. This prevents DNS
rebinding: a name cannot resolve to another address after the check.
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
CONNECTION_ERRORS = (OSError, ValueError, NetworkError, ProtocolError, TimeoutException)
MIN_TIMEOUT_S = 0.001  # 0 would make the socket non-blocking


class ForbiddenAddressError(Exception):
    """A host has no address, or one that is not allowed."""


@contextmanager
def get(backend: "CheckedBackend", scheme: str, host: str, port: int, target: str) -> Iterator[Response]:
    """Send a GET request and yield the response, whose body is not read yet."""
    url = URL(scheme=scheme, host=host.strip("[]"), port=port, target=target)
    context = ssl.create_default_context() if scheme == "https" else None
    connection = HTTPConnection(url.origin, ssl_context=context, network_backend=backend)
    try:
        with connection.stream("GET", url, headers={"Host": host, **HEADERS}) as response:
            yield response
    finally:
        connection.close()


class CheckedBackend(NetworkBackend):
    """Opens connections to hosts if all their addresses are allowed."""

    def __init__(
        self, deadline: float, resolve: Callable[[str, int], list[Address]], is_allowed: Callable[[str], bool]
    ) -> None:
        """Set the limits.

        Args:
            deadline: The end of all connections, in the time of ``time.monotonic``.
            resolve: Returns the addresses of a host and a port.
            is_allowed: Returns True if connections to an address are allowed.
        """
        self.deadline = deadline
        self.resolve = resolve
        self.is_allowed = is_allowed

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  the deadline is used instead
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> NetworkStream:
        """Connect to one of a host's addresses.

        Raises:
            ForbiddenAddressError: If one of the addresses is not allowed, or the host has none.
            ConnectError: If the host cannot be resolved, or no connection can be established.
            ConnectTimeout: If the deadline is exceeded.
        """
        addresses = self._addresses(host, port)
        if not addresses or not all(self.is_allowed(address.host) for address in addresses):
            logger.info("%s resolves to %s, which is not allowed", host, addresses)
            raise ForbiddenAddressError
        last_error: Exception = ConnectTimeout()
        for address in addresses:
            if time.monotonic() >= self.deadline:
                break
            try:
                stream = SyncBackend().connect_tcp(address.host, address.port, _remaining(self.deadline))
            except (ConnectError, ConnectTimeout) as error:
                last_error = error
            else:
                return DeadlineStream(stream, self.deadline)
        raise last_error

    def _addresses(self, host: str, port: int) -> list[Address]:
        """Return the addresses of a host. The resolver runs in a thread, because it has no timeout."""
        results: list[list[Address] | Exception] = []

        def run() -> None:
            try:
                results.append(self.resolve(host, port))
            except (OSError, ValueError) as error:
                results.append(error)

        thread = threading.Thread(target=run, name="millpond-resolve", daemon=True)
        thread.start()
        thread.join(max(self.deadline - time.monotonic(), 0.0))
        if not results:
            raise ConnectTimeout
        if isinstance(results[0], Exception):
            raise ConnectError from results[0]
        return results[0]


class DeadlineStream(NetworkStream):
    """A stream whose operations time out at the deadline."""

    def __init__(self, stream: NetworkStream, deadline: float) -> None:
        self.stream = stream
        self.deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Read received bytes."""
        return self.stream.read(max_bytes, _remaining(self.deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Write the whole buffer."""
        self.stream.write(buffer, _remaining(self.deadline))

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> NetworkStream:
        """Return a TLS stream, after the certificate is checked for the host name."""
        stream = self.stream.start_tls(ssl_context, server_hostname, _remaining(self.deadline))
        return DeadlineStream(stream, self.deadline)

    def get_extra_info(self, info: str) -> Any:
        """Return information on the connection."""
        return self.stream.get_extra_info(info)


def _remaining(deadline: float) -> float:
    return max(deadline - time.monotonic(), MIN_TIMEOUT_S)
