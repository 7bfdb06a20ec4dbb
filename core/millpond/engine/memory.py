"""Running out of memory: how it is told from other failures, and how what it leaves behind is given back."""

import traceback

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, of the device or of the machine."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def give_back(error: BaseException, device: torch.device) -> None:
    """Free what a failed batch still holds: the next one needs it.

    Args:
        error: What it failed of. Its traceback keeps the variables of every layer, as long as somebody keeps the error.
        device: Where the batch was computed.
    """
    traceback.clear_frames(error.__traceback__)
    if device.type == "cuda":
        torch.cuda.empty_cache()
