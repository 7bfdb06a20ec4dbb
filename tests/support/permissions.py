"""Make file permissions hold for root too, so that tests of read-only folders run as any user."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

VERSION_3 = 0x20080522  # selects the structures of capget and capset
OVERRIDES = 1 << 1 | 1 << 2  # the capabilities CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


class Header(ctypes.Structure):
    """The thread whose capabilities are read or set; 0 for the calling one."""

    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class Data(ctypes.Structure):
    """32 capabilities; two of these structures describe a thread."""

    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


@contextmanager
def respected_permissions() -> Iterator[None]:
    """Run the block, and threads that it starts, without root's right to ignore the permissions of files."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        yield
        return
    before = _call("capget", (Data * 2)())
    after = (Data * 2)(*before)
    after[0].effective &= ~OVERRIDES
    _call("capset", after)
    try:
        yield
    finally:
        _call("capset", before)


def _call(name: str, data: ctypes.Array[Data]) -> ctypes.Array[Data]:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, name):
        pytest.skip("needs a user other than root, or a system with capabilities")
    if getattr(libc, name)(ctypes.byref(Header(VERSION_3, 0)), data) != 0:
        raise OSError(ctypes.get_errno(), name)
    return data
