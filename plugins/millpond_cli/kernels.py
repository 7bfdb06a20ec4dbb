"""What ``millpond plugins kernels`` shows: every implementation of every op, judged for a device and a dtype."""

from typing import Any

import torch

from millpond.cli import USAGE, CommandError
from millpond.nn.ops import Setting, judge_kernels
from millpond.registry import Registry


def judge_all(
    registry: Registry, device: str, dtype: str, *, quantization: str | None = None, batch_invariant: bool = False
) -> list[dict[str, Any]]:
    """The kernels of all ops, of each op the chosen one first.

    Raises:
        CommandError: There is no such device or dtype.
    """
    setting = Setting(
        device=_device(device), dtype=_dtype(dtype), quantization=quantization, batch_invariant=batch_invariant
    )
    records: list[dict[str, Any]] = []
    for op in sorted({entry.spec.op for entry in registry.kernels.entries()}):
        verdicts = judge_kernels(registry, op, setting)
        for number, verdict in enumerate(verdicts):
            spec = verdict.entry.spec
            records.append(
                {
                    "op": op,
                    "variant": spec.variant,
                    "name": spec.name,
                    "plugin": verdict.entry.origin.plugin,
                    "priority": spec.priority,
                    "chosen": number == 0 and verdict.fits,
                    "fits": verdict.fits,
                    "reason": verdict.reason,
                    "summary": spec.summary,
                }
            )
    return records


def _device(name: str) -> torch.device:
    try:
        return torch.device(name)
    except RuntimeError as error:
        message = f"--device {name!r}: torch knows no such device"
        raise CommandError(message, hint="it is spelled cpu, cuda, cuda:1 ...", exit_code=USAGE) from error


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype):
        message = f"--dtype {name!r}: torch knows no such dtype"
        raise CommandError(message, hint="it is spelled float32, bfloat16, float16 ...", exit_code=USAGE)
    return dtype
