"""The report of ``millpond plugins kernels``: every implementation of every op, for a device and a dtype."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from millpond.nn.ops import OpContext, rank_kernels
from millpond.plugin.registry import Registry
from millpond_command.cli import USAGE, CommandError


def judge_all(
    registry: Registry,
    device: str,
    dtype: str,
    *,
    quantization: str | None = None,
    batch_invariant: bool = False,
    needs: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The kernels of all ops, of each op the chosen one first; what is needed counts for the ops that know of it.

    Raises:
        CommandError: There is no such device or dtype, or no kernel serves what is needed.
    """
    setting = OpContext(
        device=_device(device), dtype=_dtype(dtype), quantization=quantization, batch_invariant=batch_invariant
    )
    records: list[dict[str, Any]] = []
    served = _served(registry)
    unknown = [need for need in needs if not any(need in names for names in served.values())]
    if unknown:
        known = ", ".join(sorted(set().union(*served.values())))
        message = f"--needs {unknown[0]}: no kernel serves it"
        raise CommandError(message, hint=f"kernels serve: {known or 'nothing of the kind'}", exit_code=USAGE)
    for op in sorted(served):
        own = replace(setting, needs=tuple(need for need in needs if need in served[op]))
        verdicts = rank_kernels(registry, op, own)
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
                    "serves": list(spec.serves),
                    "fuses": list(spec.fuses),
                    "summary": spec.summary,
                }
            )
    return records


def _served(registry: Registry) -> dict[str, set[str]]:
    """Return the features that only some kernels of an op have, by op."""
    found: dict[str, set[str]] = {}
    for entry in registry.kernels.entries():
        found.setdefault(entry.spec.op, set()).update(entry.spec.serves)
    return found


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
