"""The report of ``millpond plugins kernels``: every implementation of every op, for a device and a dtype."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from millpond.nn.ops import OpContext, rank_kernels
from millpond.plugin.registry import Registry
from millpond_command.cli import USAGE, CommandError


def kernel_records(
    registry: Registry,
    device: str,
    dtype: str,
    *,
    quantization: str | None = None,
    batch_invariant: bool = False,
    required_features: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return the kernels of all ops, the chosen kernel of each op first.

    A required feature applies to the ops of which at least one kernel has it.

    Raises:
        CommandError: The device or dtype is unknown, or no kernel has a required feature.
    """
    context = OpContext(
        device=_device(device), dtype=_dtype(dtype), quantization=quantization, batch_invariant=batch_invariant
    )
    records: list[dict[str, Any]] = []
    available = _features_by_op(registry)
    unknown = [name for name in required_features if not any(name in features for features in available.values())]
    if unknown:
        known = ", ".join(sorted(set().union(*available.values())))
        message = f"--needs {unknown[0]}: no kernel has this feature"
        raise CommandError(message, hint=f"features of kernels: {known or 'none'}", exit_code=USAGE)
    for op, features in sorted(available.items()):
        required = tuple(name for name in required_features if name in features)
        matches = rank_kernels(registry, op, replace(context, required_features=required))
        for number, match in enumerate(matches):
            spec = match.entry.spec
            records.append(
                {
                    "op": op,
                    "variant": spec.variant,
                    "name": spec.name,
                    "plugin": match.entry.origin.plugin,
                    "priority": spec.priority,
                    "chosen": number == 0 and match.fits,
                    "fits": match.fits,
                    "reason": match.reason,
                    "features": list(spec.features),
                    "serves": list(spec.features),  # the name before 0.2
                    "fuses": list(spec.fuses),
                    "summary": spec.summary,
                }
            )
    return records


def _features_by_op(registry: Registry) -> dict[str, set[str]]:
    """Return the features that only some kernels of an op have, by op."""
    features: dict[str, set[str]] = {}
    for entry in registry.kernels.entries():
        features.setdefault(entry.spec.op, set()).update(entry.spec.features)
    return features


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
