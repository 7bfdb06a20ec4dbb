"""Hosts: an ASGI middleware that answers only requests for this server's own names.

A page of another site can have its own name lead to 127.0.0.1 (DNS rebinding); the browser then takes a server there
for that site, and lets the page read what it answers. The name is in the Host header, which pages cannot change.
"""

import re
from collections.abc import Awaitable, Iterable
from functools import lru_cache, partial
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from millpond_server.http.auth import LIVENESS
from millpond_server.http.errors import ApiError, answer, shown
from millpond_server.runtime.settings import Settings

HOST = re.compile(r"(?P<host>[^:\[\]]*|\[[0-9a-fA-F:.]+\])(?::\d*)?")
LOCAL = "localhost"
REMEMBERED = 256  # Host headers


class Hosts:
    """Lets requests pass whose Host header names the server.

    IP addresses pass, for no name leads elsewhere by them; so do requests without a Host header, which browsers always
    send, and the routes that tell whether the server lives, which probes ask by any name.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self.app = app
        self.names = tuple(names)
        self._is_allowed = lru_cache(REMEMBERED)(partial(is_allowed, names=self.names))

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Let a request pass, or answer 421."""
        if scope["path"] not in LIVENESS:
            for name, value in scope["headers"]:
                if name == b"host" and not self._is_allowed(value.decode("latin-1")):
                    return self._refuse(scope, receive, send)
        return self.app(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["millpond.reason"] = "host"
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        stated = ", ".join(shown(host.decode("latin-1")) for host in hosts[:2])
        message = (
            f"the host {stated} is not one of this server's names ({', '.join(self.names)}, and IP addresses): send "
            "the request to one of these, or start the server with --allowed-host NAME"
        )
        await answer(ApiError(421, message, reason="host"))(scope, receive, send)


def is_allowed(stated: str, names: Iterable[str]) -> bool:
    """True if a Host header is empty, an IP address, or one of some names; ``*.NAME`` stands for all below it."""
    match = HOST.fullmatch(stated.strip())
    if match is None:
        return False
    host = match["host"].lower().rstrip(".")
    if not host or _is_address(host.strip("[]")):
        return True
    return any(name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])) for name in names)


def hosts_of(settings: Settings, address: str | None = None) -> tuple[str, ...] | None:
    """Return the names of a server; None for any: it is not on a loopback address, and was told of no names.

    Args:
        settings: How it is run.
        address: The address that it listens on, where that is not the settings' host.
    """
    bound = (address or settings.host).lower().rstrip(".")
    names = [name.lower().rstrip(".") for name in settings.allowed_hosts]
    if settings.uds is None and _is_loopback(bound):
        names += [LOCAL, f"*.{LOCAL}"]  # RFC 6761: both lead to the machine itself
    elif not names:
        return None
    if settings.uds is None and not _is_address(bound):
        names.append(bound)
    return tuple(dict.fromkeys(names))


def _is_loopback(host: str) -> bool:
    return host == LOCAL or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
