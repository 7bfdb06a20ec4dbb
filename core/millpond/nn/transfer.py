"""Copies of small tensors to the device of a batch, without waiting for the device."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | None) -> Tensor:
    """Return a tensor of the host on a device.

    An ordinary copy to a CUDA device waits until the device has finished all work launched before. A copy from
    page-locked memory does not; torch keeps that memory until the copy has ended.
    """
    if device is None or device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
