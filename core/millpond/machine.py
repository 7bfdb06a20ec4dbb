"""The cores that this process may use, and the memory that it holds."""

import ctypes
import os
import sys


def available_cores() -> int:
    """Return the number of cores that this process may use; ``taskset`` and a container's cpuset reduce it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def trim_heap() -> None:
    """Return freed memory to the operating system: glibc keeps freed blocks of up to 32 MiB per thread."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only in glibc
        if trim is not None:
            trim(0)
