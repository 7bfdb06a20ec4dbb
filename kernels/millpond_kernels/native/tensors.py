"""What compiled code may be handed: it goes by addresses, and would read on where a tensor ends."""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def are_floats(*tensors: "Tensor") -> bool:
    """Whether all are float32 on the CPU, without gaps."""
    return all(x.dtype is torch.float32 and x.device.type == "cpu" and x.is_contiguous() for x in tensors)


def floats(name: str, tensor: "Tensor", *shape: int | None) -> "Tensor":
    """The tensor without gaps, if it is float32, on the CPU, and of that shape; None stands for any size.

    Raises:
        ValueError: If it is not.
    """
    right = tensor.dtype is torch.float32 and tensor.device.type == "cpu" and tensor.dim() == len(shape)
    if not right or any(size not in (None, there) for size, there in zip(shape, tensor.shape, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        message = (
            f"{name} is {tensor.dtype} of the shape {list(tensor.shape)} on {tensor.device}, where the compiled kernel "
            f"takes torch.float32 of the shape [{wanted}] on the CPU"
        )
        raise ValueError(message)
    return tensor.contiguous()
