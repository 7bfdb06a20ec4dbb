"""Reads the tensors of a checkpoint from safetensors files, single or sharded, and from pickles if allowed.

Large tensors stay in the memory-mapped file. It is mapped copy-on-write, so processes share the pages that they only
read. The pages of a tensor leave the memory of the process when the last reference to the tensor is deleted: weights
that are converted one by one take little more memory than the converted weights. The file stays mapped as long as one
of its tensors exists. It may be deleted or replaced by another file, but must not be overwritten.
"""

import json
import mmap
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from millpond.model.files import (
    DTYPES,
    EXTRA_SUFFIXES,
    HEADER_START,
    extra_file,
    module_weight_file,
    read_header_text,
    weight_files,
)
from millpond.model.spec import ModuleSettings
from millpond.regular_file import open_regular
from millpond.types.errors import CheckpointError

CHECKED_VALUES = 2**20  # in one step: torch sums 16-bit values in a copy
MIN_MAPPED_BYTES = 65_536  # smaller tensors are copied: several of them may share a page


def iterate_weights(folder: Path, *, allow_pickle: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Return the names and tensors of the checkpoint in a folder; see ``read_tensors``.

    Raises:
        CheckpointError: If files are missing.
    """
    paths = weight_files(folder, allow_pickle=allow_pickle)
    return chain.from_iterable(read_tensors(path, allow_pickle=allow_pickle) for path in paths)


def read_tensors(path: Path, *, allow_pickle: bool) -> Iterator[tuple[str, Tensor]]:
    """Return the names and tensors of one file.

    Raises:
        CheckpointError: If the file is damaged, contains NaN or infinity, or is a pickle without ``allow_pickle``.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if not allow_pickle:
        message = (
            f"{path} is a pickle, which can run code when it is loaded: pass allow_pickle=True (--allow-pickle) to "
            "load it with weights_only=True, or convert it to safetensors"
        )
        raise CheckpointError(message)
    return _read_pickle(path)


def check_finite(name: str, tensor: Tensor, path: Path) -> None:
    """Check that a tensor contains no NaN or infinity.

    Raises:
        CheckpointError: If it does.
    """
    if not tensor.is_floating_point():
        return
    # Fast check: the sum is not finite if any value is not. The sum of finite values may overflow, so they are counted.
    count = 0
    for block in tensor.reshape(-1).split(CHECKED_VALUES):
        if not block.sum(dtype=torch.float32).isfinite():
            count += int((~block.isfinite()).sum())
    if count:
        message = f"{name!r} in {path} contains {count} NaN or infinite values: the checkpoint is damaged"
        raise CheckpointError(message)


def _read_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    read_header_text(path)  # is small enough
    try:
        with open_regular(path) as source:
            opened = _opened(source, path)
            with safe_open(opened, framework="pt") as file:  # checks the header
                memory = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_COPY)
                start = HEADER_START.size + HEADER_START.unpack(memory[: HEADER_START.size])[0]
                entries = json.loads(memory[HEADER_START.size : start])
                for name in file.keys():  # noqa: SIM118  not a mapping
                    dtype = getattr(torch, DTYPES.get(entries[name]["dtype"], ""), None)
                    first, last = entries[name]["data_offsets"]
                    if dtype is None or last - first < MIN_MAPPED_BYTES or (start + first) % dtype.itemsize:
                        tensor = file.get_tensor(name).clone()
                    else:
                        tensor = _mapped(memory, start, entries[name], dtype)
                    is_small = tensor.dtype is torch.float32 and tensor.numel() <= CHECKED_VALUES
                    if not is_small or not tensor.sum().isfinite():
                        check_finite(name, tensor, path)
                    yield name, tensor
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or truncated ({error}): download the model again") from error


def _mapped(memory: mmap.mmap, start: int, entry: Mapping[str, Any], dtype: torch.dtype) -> Tensor:
    """Return a tensor in a mapped file, whose values begin at ``start``."""
    first, last = entry["data_offsets"]
    values = memoryview(memory)[start + first : start + last]
    # The tensor holds the only reference to this view. At exit, the system frees all pages.
    weakref.finalize(values, _drop_pages, memory, start + first, start + last).atexit = False
    return torch.frombuffer(values, dtype=dtype).view(entry["shape"])


def _drop_pages(memory: mmap.mmap, start: int, stop: int) -> None:
    """Remove the whole pages of a range from the memory of the process."""
    first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, stop // mmap.PAGESIZE * mmap.PAGESIZE
    if sys.platform != "win32" and first < last:
        memory.madvise(mmap.MADV_DONTNEED, first, last - first)


def _opened(file: BinaryIO, path: Path) -> Path:
    """Return a path of an open file: another process may put a pipe, which would wait, in place of its own path."""
    opened = Path(f"/proc/self/fd/{file.fileno()}")
    return opened if opened.exists() else path


def _read_pickle(path: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        message = f"{path} cannot be read with weights_only=True: {error}"
        raise CheckpointError(message) from error
    if not isinstance(state, dict):
        message = f"{path} must contain a dict of tensors; it contains {type(state).__name__}"
        raise CheckpointError(message)
    for name in list(state):
        value = state.pop(name)  # so that the memory is released when the caller does not need the tensor any more
        if isinstance(name, str) and isinstance(value, Tensor):
            check_finite(name, value, path)
            yield name, value


def iterate_extra_weights(folder: Path, names: tuple[str, ...], *, allow_pickle: bool) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of extra weight files as ``FILE.TENSOR``, with the file name without its suffix.

    Raises:
        CheckpointError: If a file is missing, or as in ``read_tensors``.
    """
    for name in names:
        path = extra_file(folder, name)
        if path is None:
            expected = " nor ".join(f"{name}{suffix}" for suffix in EXTRA_SUFFIXES)
            message = f"{folder} has neither {expected}, which the model needs"
            raise CheckpointError(message)
        for tensor_name, tensor in read_tensors(path, allow_pickle=allow_pickle):
            yield f"{name}.{tensor_name}", tensor


class ModuleWeights:
    """The tensors of one module, in float32; the file is read on first access.

    Args:
        module: The module.
        device: The device of the tensors.
        allow_pickle: True if the file may be a pickle.
    """

    def __init__(self, module: ModuleSettings, device: torch.device, *, allow_pickle: bool) -> None:
        self.folder, self._module = module.path, module
        self._device, self._allow_pickle = device, allow_pickle

    @cached_property
    def path(self) -> Path:
        """The weight file of the module.

        Raises:
            CheckpointError: If it is missing.
        """
        return module_weight_file(self._module)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tensors."""
        return tuple(sorted(self._tensors))

    def find(self, name: str) -> Tensor | None:
        """Return the tensor of that name with any shape; None if it is missing."""
        return self._tensors.get(name)

    def get(self, name: str, shape: Sequence[object]) -> Tensor:
        """Return the tensor of that name.

        Args:
            name: The name of the tensor.
            shape: The shape that the module's config implies.

        Raises:
            CheckpointError: If the tensor is missing or has another shape.
        """
        if name not in self._tensors:
            message = f"{self.path} has no tensor {name!r}. Available: {', '.join(self.names)}"
            raise CheckpointError(message)
        tensor = self._tensors[name]
        if list(tensor.shape) != list(shape):
            message = (
                f"Shape mismatch for {name!r} in {self.path}: the file has {list(tensor.shape)}, "
                f"config.json implies {shape}"
            )
            raise CheckpointError(message)
        return tensor

    @cached_property
    def _tensors(self) -> Mapping[str, Tensor]:
        tensors = read_tensors(self.path, allow_pickle=self._allow_pickle)
        return {name: tensor.to(self._device, torch.float32) for name, tensor in tensors}
