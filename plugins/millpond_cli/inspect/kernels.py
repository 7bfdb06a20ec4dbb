"""The report of ``millpond plugins kernels``: the kernels of all ops, for a device and a dtype."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from millpond.loading.precision import in_mixed_precision
from millpond.plugin.kernels import OpContext, rank_kernels
from millpond.plugin.registry import Registry
from millpond.types.compute import ComputeOptions
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
    """Return a record for each kernel, by op; the selected kernel of an op comes first.

    On a CPU, models in bfloat16 compute in float32 with weights in bfloat16, if kernels support it.

    Args:
        registry: The registry of plugin records.
        device: The name of the device.
        dtype: The name of the dtype.
        quantization: The quantization of the model; None for none.
        batch_invariant: True if results must not depend on the batch.
        required_features: The features that the model requires. A feature is ignored for ops without a kernel that
            has it.

    Raises:
        CommandError: The device, the dtype or a feature is unknown.
    """
    torch_device = _device(device)
    compute = ComputeOptions(quantization=quantization, batch_invariant=batch_invariant)
    torch_dtype, compute = in_mixed_precision(registry, _dtype(dtype), torch_device, compute)
    context = OpContext(
        device=torch_device, dtype=torch_dtype, quantization=compute.quantization, batch_invariant=batch_invariant
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
        message = f"--device {name!r}: unknown to torch"
        raise CommandError(message, hint="examples: cpu, cuda, cuda:1", exit_code=USAGE) from error


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(dtype, torch.dtype):
        message = f"--dtype {name!r}: unknown to torch"
        raise CommandError(message, hint="examples: float32, bfloat16, float16", exit_code=USAGE)
    return dtype
