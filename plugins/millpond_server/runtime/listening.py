"""A socket that admits no more: new connections wait outside, the last ones inside are taken, and none is cut off.

A listening socket that is closed resets whoever waits to be accepted, and between the last ``accept`` and ``close``
there is always time for one more. Linux lets a socket drop packets by a small program of the classic Berkeley Packet
Filter (socket(7), SO_ATTACH_FILTER): with the requests for connections dropped, clients try again in a second, and are
then told that nobody listens.
"""

import contextlib
import ctypes
import socket
import struct
import sys

SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>; Python does not name it
FLAGS = 13  # the byte of a TCP header with the flags (RFC 9293, section 3.1)
SYN, ACK = 0x02, 0x10
LOAD_BYTE, AND, JUMP_IF_EQUAL, RETURN = 0x30, 0x54, 0x15, 0x06  # <linux/bpf_common.h>
WHOLE, NOTHING = 0xFFFFFFFF, 0  # how many bytes of the packet are let through

PROGRAM = (  # (operation, jump if true, jump if false, operand)
    (LOAD_BYTE, 0, 0, FLAGS),
    (AND, 0, 0, SYN | ACK),
    (JUMP_IF_EQUAL, 1, 0, SYN),
    (RETURN, 0, 0, WHOLE),
    (RETURN, 0, 0, NOTHING),
)


class _Program(ctypes.Structure):
    """struct sock_fprog: how many instructions, and where they stand."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def admit_no_more(listening: socket.socket) -> None:
    """Let no new connection in; those under way, and those that wait to be accepted, stay.

    Does nothing where the system has no such filter, or forbids it, and for sockets other than TCP's.
    """
    if sys.platform != "linux" or listening.family not in (socket.AF_INET, socket.AF_INET6):
        return
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in PROGRAM)
    program = _Program(len(PROGRAM), code)
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(program))
