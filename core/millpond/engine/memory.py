"""Gives back the memory that a failed batch still holds."""

import traceback

import torch


def give_back(error: BaseException, device: torch.device) -> None:
    """Free what a failed batch still holds: the next one needs it.

    Args:
        error: What it failed of. Its traceback keeps the variables of every layer, as long as somebody keeps the error.
        device: Where the batch was computed.
    """
    traceback.clear_frames(error.__traceback__)
    if device.type == "cuda":
        torch.cuda.empty_cache()
