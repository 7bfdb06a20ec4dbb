"""HostsMiddleware: refuses requests for host names that are not the server's.

The DNS name of another site can be resolved to 127.0.0.1 (DNS rebinding): a browser then treats a server on this
machine as that site, and its pages can read the responses. The name is in the Host header, which pages cannot change.
"""

import re
from collections.abc import Awaitable, Iterable
from functools import lru_cache, partial
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from millpond_server.http.auth import HEALTH_PATHS
from millpond_server.http.errors import ApiError, error_response, short_repr
from millpond_server.runtime.settings import Settings

HOST = re.compile(r"(?P<host>[^:\[\]]*|\[[0-9a-fA-F:.]+\])(?::\d*)?")
LOCALHOST = "localhost"
MAX_CACHED_HOSTS = 256


class HostsMiddleware:
    """Passes requests on whose Host header contains a name of the server.

    IP addresses are always allowed, because DNS rebinding needs a name. So are requests without a Host header, which
    browsers always send, and the health routes, which probes request by any name.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self.app = app
        self.names = tuple(names)
        self._is_allowed = lru_cache(MAX_CACHED_HOSTS)(partial(is_allowed, names=self.names))

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass the request on, or respond with 421."""
        if scope["path"] not in HEALTH_PATHS:
            for name, value in scope["headers"]:
                if name == b"host" and not self._is_allowed(value.decode("latin-1")):
                    return self._refuse(scope, receive, send)
        return self.app(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["millpond.reason"] = "host"
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        values = ", ".join(short_repr(host.decode("latin-1")) for host in hosts[:2])
        message = (
            f"the host {values} is not one of this server's names ({', '.join(self.names)}, and IP addresses): send "
            "the request to one of these, or start the server with --allowed-host NAME"
        )
        await error_response(ApiError(421, message, reason="host"))(scope, receive, send)


def is_allowed(header: str, names: Iterable[str]) -> bool:
    """Return True if a Host header is empty, an IP address, or matches a name; ``*.NAME`` matches all subdomains."""
    match = HOST.fullmatch(header.strip())
    if match is None:
        return False
    host = match["host"].lower().rstrip(".")
    if not host or _is_address(host.strip("[]")):
        return True
    return any(name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])) for name in names)


def hosts_of(settings: Settings, address: str | None = None) -> tuple[str, ...] | None:
    """Return the names of a server; None for any name, if it has no names and no loopback address.

    Args:
        settings: The settings of the server.
        address: The address that it listens on (default: the host of the settings).
    """
    host = (address or settings.host).lower().rstrip(".")
    names = [name.lower().rstrip(".") for name in settings.allowed_hosts]
    if settings.uds is None and _is_loopback(host):
        names += [LOCALHOST, f"*.{LOCALHOST}"]  # RFC 6761: both resolve to a loopback address
    elif not names:
        return None
    if settings.uds is None and not _is_address(host):
        names.append(host)
    return tuple(dict.fromkeys(names))


def _is_loopback(host: str) -> bool:
    return host == LOCALHOST or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
