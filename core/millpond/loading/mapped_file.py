"""MappedFile: the tensors of a safetensors file in the memory-mapped file itself, without a copy."""

import json
import mmap
import sys
import weakref
from pathlib import Path

import torch
from torch import Tensor

from millpond.model.files import DTYPES

LENGTH_BYTES = 8  # at the start of the file: the length of the header
MIN_BYTES = 65_536  # smaller tensors are copied: several of them may share a page


class MappedFile:
    """A safetensors file that is mapped copy-on-write, so processes share the pages that they only read.

    The pages of a tensor leave the memory of the process when the last reference to the tensor is deleted: weights that
    are converted one by one take little more memory than the converted weights. The file stays mapped as long as one of
    its tensors exists. It may be deleted or replaced by another file, but must not be overwritten.

    Args:
        path: The path of the file, whose header must be valid.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._start = LENGTH_BYTES + int.from_bytes(self._memory[:LENGTH_BYTES], "little")
        self._entries = json.loads(self._memory[LENGTH_BYTES : self._start])

    def tensor(self, name: str) -> Tensor | None:
        """Return a tensor in the mapped file; None if it has to be copied: a small, misaligned or integer tensor."""
        entry = self._entries[name]
        dtype: torch.dtype | None = getattr(torch, DTYPES.get(entry["dtype"], ""), None)
        first, last = entry["data_offsets"]
        start, stop = self._start + first, self._start + last
        if dtype is None or stop - start < MIN_BYTES or start % dtype.itemsize:
            return None
        values = memoryview(self._memory)[start:stop]
        # The tensor holds the only reference to this view. At exit, the system frees all pages.
        weakref.finalize(values, _drop_pages, self._memory, start, stop).atexit = False
        return torch.frombuffer(values, dtype=dtype).view(entry["shape"])


def _drop_pages(memory: mmap.mmap, start: int, stop: int) -> None:
    """Remove the whole pages of a range from the memory of the process."""
    first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, stop // mmap.PAGESIZE * mmap.PAGESIZE
    if sys.platform != "win32" and first < last:
        memory.madvise(mmap.MADV_DONTNEED, first, last - first)
