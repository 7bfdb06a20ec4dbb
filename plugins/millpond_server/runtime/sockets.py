"""The sockets that a server listens on: bound before its models are loaded, and closed without losing a connection."""

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

SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>; Python does not name it
FLAGS = 13  # the byte of a TCP header with the flags (RFC 9293, section 3.1)
SYN, ACK = 0x02, 0x10
LOAD_BYTE, AND, JUMP_IF_EQUAL, RETURN = 0x30, 0x54, 0x15, 0x06  # <linux/bpf_common.h>
WHOLE, NOTHING = 0xFFFFFFFF, 0  # how many bytes of the packet are let through
DROP_NEW_CONNECTIONS = (  # (operation, jump if true, jump if false, operand)
    (LOAD_BYTE, 0, 0, FLAGS),
    (AND, 0, 0, SYN | ACK),
    (JUMP_IF_EQUAL, 1, 0, SYN),
    (RETURN, 0, 0, WHOLE),
    (RETURN, 0, 0, NOTHING),
)


class AddressInUseError(MillpondError):
    """Another program listens on the requested address."""

    hint = "--port N takes another port, --port 0 one that is free"


@dataclass(frozen=True, kw_only=True)
class Sockets:
    """The sockets of a server.

    Attributes:
        api: The socket for requests.
        url: Its address, as clients write it.
        metrics: The socket for metrics; None if they are on the same.
        metrics_url: Its address.
    """

    api: socket.socket
    url: str
    metrics: socket.socket | None = None
    metrics_url: str | None = None


def bind(settings: Settings) -> Sockets:
    """Bind the sockets that the settings name.

    Raises:
        ValueError: If the port for metrics is the server's own, or the options for HTTPS are invalid.
        OSError: If an address is taken, or does not exist.
    """
    check_tls(settings)
    if settings.uds is None and settings.metrics_port == settings.port != 0 and settings.metrics_host is None:
        message = f"--metrics-port {settings.metrics_port} is the port of the server itself: metrics need another"
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
    """Return a TCP socket, and its host and port as URLs have them."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        if error.errno != errno.EADDRINUSE:
            raise
        message = f"port {port} of {host} is in use: another program listens on it"
        raise AddressInUseError(message) from error
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    return listening, f"{shown}:{listening.getsockname()[1]}"


def _bind_path(path: Path) -> socket.socket:
    """Return a Unix socket; the file of a server that has ended is replaced."""
    listening = socket.socket(socket.AF_UNIX)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _is_listened_on(path):
        path.unlink()
    listening.bind(str(path))
    return listening


def _is_listened_on(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class _Program(ctypes.Structure):
    """struct sock_fprog: the number of instructions, and their address."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def admit_no_more(listening: socket.socket) -> None:
    """Let no new connection in; those under way, and those that wait to be accepted, stay.

    A listening socket that is closed resets connections that wait to be accepted, and between the last ``accept`` and
    ``close`` there is always time for one more. Linux lets a socket drop packets by a small program of the classic
    Berkeley Packet Filter (socket(7), SO_ATTACH_FILTER): with the requests for connections dropped, clients try again
    in a second, and are then refused. Does nothing where the system has no such filter, or forbids it, and for sockets
    other than TCP's.
    """
    if sys.platform != "linux" or listening.family not in (socket.AF_INET, socket.AF_INET6):
        return
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in DROP_NEW_CONNECTIONS)
    program = _Program(len(DROP_NEW_CONNECTIONS), code)
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(program))


def accepted(listening: socket.socket) -> list[socket.socket]:
    """Return the connections that were not accepted yet; the socket is closed at once after the last of them."""
    waiting: list[socket.socket] = []
    with listening, contextlib.suppress(BlockingIOError):
        listening.setblocking(False)
        while True:
            waiting.append(listening.accept()[0])
    return waiting
