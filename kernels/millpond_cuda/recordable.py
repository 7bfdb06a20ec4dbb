"""RecordableOps: finds operations that a recorded graph must not contain, before it is recorded."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

INDEXING = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)  # noqa: SLF001  the op of `Tensor.to`
MASKS = (torch.bool, torch.uint8)


class NotRecordableError(RuntimeError):
    """The forward pass of a model depends on more than the tensors of a batch."""


class RecordableOps(TorchDispatchMode):
    """Raises an error for operations of this thread that a graph cannot contain.

    Some wait for the device; an attempt to record these leaves torch's allocator in a state in which it does not reuse
    all memory. Others copy between host and device: a replay would copy from or to memory of the host that is used for
    something else by then.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not annotate it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute an operation.

        Raises:
            NotRecordableError: If a graph cannot contain it.
        """
        if _waits(func, args):
            message = f"it waits for the device ({func})"
            raise NotRecordableError(message)
        result = func(*args, **(kwargs or {}))
        indices = args[1] if func in INDEXING else ()
        if func in (*COPIES, *INDEXING) and len({it.device.type for it in _tensors((*args[:2], *indices, result))}) > 1:
            message = f"it copies between host and device ({func})"
            raise NotRecordableError(message)
        return result


def _waits(func: Any, args: Any) -> bool:
    """Return True if the host has to know values of the arguments, for a number or for the size of a result."""
    if func in INDEXING:
        return any(tensor.dtype in MASKS for tensor in _tensors(args[1]))
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in values if isinstance(value, Tensor))
