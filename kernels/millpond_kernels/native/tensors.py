"""What compiled code may be handed: it goes by addresses, and would read on where a tensor ends."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

MATRIX = 2  # dimensions


def are_floats(*tensors: "Tensor") -> bool:
    """Whether all are float32 on the CPU, without gaps."""
    for x in tensors:  # noqa: SIM110  a generator costs more than the question, which short texts ask often
        if not (x.is_cpu and x.dtype is torch.float32 and x.is_contiguous()):
            return False
    return True


def rows_of_floats(x: "Tensor", columns: int) -> "Tensor":
    """The rows without gaps, if they are float32, on the CPU, and of the shape [any, columns].

    Raises:
        ValueError: If they are not.
    """
    if not (x.is_cpu and x.dtype is torch.float32 and x.dim() == MATRIX and x.size(1) == columns):
        message = (
            f"x is {x.dtype} of the shape {list(x.shape)} on {x.device}, where the compiled kernel takes torch.float32 "
            f"of the shape [any, {columns}] on the CPU"
        )
        raise ValueError(message)
    return x.contiguous()


def address(tensor: "Tensor | None") -> int | None:
    """Where the first number lies; none of none."""
    return None if tensor is None else tensor.data_ptr()
