"""Checks of tensors for compiled code, which receives addresses and would read past the end of a tensor."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

MATRIX_DIMS = 2


def are_floats(*tensors: "Tensor") -> bool:
    """Return True if all tensors are float32, on the CPU and contiguous."""
    for x in tensors:  # noqa: SIM110  a generator is slower, and this is called often for short texts
        if not (x.is_cpu and x.dtype is torch.float32 and x.is_contiguous()):
            return False
    return True


def rows_of_floats(x: "Tensor", columns: int) -> "Tensor":
    """Return x, contiguous, after checking that it is float32, on the CPU, and has the shape [any, columns].

    Raises:
        ValueError: If it is not.
    """
    if not (x.is_cpu and x.dtype is torch.float32 and x.dim() == MATRIX_DIMS and x.size(1) == columns):
        message = (
            f"x is {x.dtype} with the shape {list(x.shape)} on {x.device}; the compiled kernel needs torch.float32 "
            f"with the shape [any, {columns}] on the CPU"
        )
        raise ValueError(message)
    return x.contiguous()


def address(tensor: "Tensor | None") -> int | None:
    """Return the address of the first element; None for None."""
    return None if tensor is None else tensor.data_ptr()
