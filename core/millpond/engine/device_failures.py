"""Failures of the device: memory to free after a batch that did not fit, and the error that stops the engine."""

import traceback

import torch

from millpond.types.errors import EngineClosedError


def free_memory(error: BaseException, device: torch.device) -> None:
    """Free the memory that a failed batch still holds: the next batch needs it.

    Args:
        error: The error. Its traceback keeps the local variables of every layer alive, and so does that of the error
            that it replaced.
        device: The device of the batch.
    """
    current: BaseException | None = error
    while current is not None:
        traceback.clear_frames(current.__traceback__)
        current = current.__cause__ or current.__context__
    if device.type == "cuda":
        torch.cuda.empty_cache()


def device_crash(error: BaseException) -> EngineClosedError:
    """Return the error that stops the engine, after one of the device that all later batches would raise again."""
    reason = str(error).partition("\n")[0]
    crash = EngineClosedError(f"the device failed: {reason}. Only another process can use it again")
    crash.__cause__ = error
    return crash
