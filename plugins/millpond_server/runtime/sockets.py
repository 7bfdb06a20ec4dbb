"""Sockets of a server: bound before its models are loaded, and closed without losing a connection."""

import contextlib
import ctypes
import errno
import socket
import stat
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from millpond.types.errors import MillpondError
from millpond_server.http.tls import check_tls
from millpond_server.runtime.settings import Settings

SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>; missing from Python's socket module
FLAGS_OFFSET = 13  # the byte of the TCP header that contains the flags (RFC 9293, section 3.1)
SYN, ACK = 0x02, 0x10
LOAD_BYTE, AND, JUMP_IF_EQUAL, RETURN = 0x30, 0x54, 0x15, 0x06  # <linux/bpf_common.h>
ACCEPT_PACKET, DROP_PACKET = 0xFFFFFFFF, 0  # the number of bytes of the packet to keep
DROP_NEW_CONNECTIONS = (  # (operation, jump if true, jump if false, operand)
    (LOAD_BYTE, 0, 0, FLAGS_OFFSET),
    (AND, 0, 0, SYN | ACK),
    (JUMP_IF_EQUAL, 1, 0, SYN),
    (RETURN, 0, 0, ACCEPT_PACKET),
    (RETURN, 0, 0, DROP_PACKET),
)


class AddressInUseError(MillpondError):
    """Another program listens on the requested address."""

    hint = "pass --port N for another port, or --port 0 for a free one"


@dataclass(frozen=True, kw_only=True)
class Sockets:
    """The sockets of a server.

    Attributes:
        api: The socket for requests.
        url: The URL of the API.
        metrics: The socket for metrics; None if they are served with the API.
        metrics_url: The URL of the metrics port.
    """

    api: socket.socket
    url: str
    metrics: socket.socket | None = None
    metrics_url: str | None = None


def bind(settings: Settings) -> Sockets:
    """Bind the sockets for a server's settings.

    Raises:
        ValueError: If both ports are the same, the TLS options are invalid, or an address does not exist.
        AddressInUseError: If another program listens on an address.
    """
    check_tls(settings)
    if settings.uds is None and settings.metrics_port == settings.port != 0 and settings.metrics_host is None:
        message = f"--metrics-port {settings.metrics_port} is the port of the API: pass a different port"
        raise ValueError(message)
    if settings.uds is None:
        api, address = _bind_port(settings.host, settings.port)
        url = f"http{'' if settings.ssl_certfile is None else 's'}://{address}"
    else:
        api, url = _bind_path(Path(settings.uds)), f"unix:{settings.uds}"
    if settings.metrics_port is None:
        return Sockets(api=api, url=url)
    metrics, address = _bind_port(settings.metrics_host or settings.host, settings.metrics_port)
    return Sockets(api=api, url=url, metrics=metrics, metrics_url=f"http://{address}")


def _bind_port(host: str, port: int) -> tuple[socket.socket, str]:
    """Return a TCP socket, and its host and port in the format of URLs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            message = f"--host {host}, port {port}: {error.strerror or error}"
            raise ValueError(message) from error
        message = f"port {port} of {host} is in use: another program listens on it"
        raise AddressInUseError(message) from error
    url_host = f"[{host}]" if family == socket.AF_INET6 else host
    return listener, f"{url_host}:{listener.getsockname()[1]}"


def _bind_path(path: Path) -> socket.socket:
    """Return a Unix socket; the file left by an earlier server is replaced."""
    listener = socket.socket(socket.AF_UNIX)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _is_in_use(path):
        path.unlink()
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        message = f"--uds {path}: {error.strerror or error}"
        raise ValueError(message) from error
    return listener


def _is_in_use(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class _FilterProgram(ctypes.Structure):
    """struct sock_fprog: the number of instructions and their address."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def drop_new_connections(listener: socket.socket) -> None:
    """Drop new connection requests; open connections and those waiting to be accepted are kept.

    Closing a listening socket resets the connections that wait to be accepted, and one more can always arrive between
    the last ``accept`` and ``close``. On Linux, a program of the classic Berkeley Packet Filter (socket(7),
    SO_ATTACH_FILTER) can drop the SYN packets: clients retry after a second and are then refused. Does nothing on other
    systems, if the filter is not permitted, and for sockets other than TCP.
    """
    if sys.platform != "linux" or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in DROP_NEW_CONNECTIONS)
    program = _FilterProgram(len(DROP_NEW_CONNECTIONS), code)
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(program))


def accept_pending(listener: socket.socket) -> list[socket.socket]:
    """Return the connections that wait to be accepted, and close the listener right after the last one."""
    connections: list[socket.socket] = []
    with listener, contextlib.suppress(BlockingIOError):
        listener.setblocking(False)
        while True:
            connections.append(listener.accept()[0])
    return connections
