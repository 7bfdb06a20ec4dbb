"""Where a checkpoint's tensor goes in a module that was built on the meta device."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from millpond.types.errors import CheckpointError


@dataclass
class Placement:
    """What became of a checkpoint's tensors.

    Attributes:
        placed: The parameters that got values; ``name@i`` for part i of a fused one.
        unused: The names in the checkpoint that no parameter answers to.
        missing: What the checkpoint lacks, where who read it knows that better than ``missing_weights``.
    """

    placed: set[str] = field(default_factory=set)
    unused: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def place_weight(
    model: nn.Module, target: str, tensor: Tensor, *, dtype: torch.dtype, device: torch.device, name: str | None = None
) -> bool:
    """Give a parameter its values; False if the model has no such parameter.

    Args:
        model: The model.
        target: The parameter's dotted name; ``@i`` behind it means part i of a fused ``Linear``.
        tensor: The values.
        dtype: What floating-point parameters are kept in, unless their module has a ``dtype`` of its own.
        device: Where they are kept.
        name: The tensor's name in the checkpoint, for errors.

    Raises:
        CheckpointError: If the tensor's shape is not the parameter's.
    """
    path, _, part = target.partition("@")
    module_path, _, own_name = path.rpartition(".")
    try:
        module = model.get_submodule(module_path)
    except AttributeError:
        return False
    parameter = module._parameters.get(own_name)  # noqa: SLF001  a parameter on the meta device is replaced, not set
    if parameter is None:
        return False
    start, stop = _rows(module, part) if part else (0, parameter.shape[0])
    expected = (stop - start, *parameter.shape[1:])
    if tuple(tensor.shape) != expected:
        message = (
            f"the checkpoint's tensor {name or path!r} has the shape {list(tensor.shape)}, where config.json leads to "
            f"{list(expected)}: the weights and config.json are not of one model"
        )
        raise CheckpointError(message)
    kept = getattr(module, "dtype", dtype) if parameter.is_floating_point() else parameter.dtype
    if not part:
        values = tensor.to(device=device, dtype=kept, copy=True)
        module._parameters[own_name] = nn.Parameter(values, requires_grad=False)  # noqa: SLF001
        return True
    if parameter.is_meta:
        fresh = torch.full(parameter.shape, torch.nan, dtype=kept, device=device)
        parameter = nn.Parameter(fresh, requires_grad=False)
        module._parameters[own_name] = parameter  # noqa: SLF001
    parameter.data[start:stop].copy_(tensor)
    return True


def _rows(module: nn.Module, part: str) -> tuple[int, int]:
    parts: tuple[tuple[int, int], ...] = module.parts  # type: ignore[assignment]  # of ``Linear``, and of nothing else
    return parts[int(part)]


def missing_weights(model: nn.Module, placed: set[str]) -> list[str]:
    """The parameters, and parts of fused ones, that got no values.

    Args:
        model: The model.
        placed: The targets that ``place_weight`` took.
    """
    missing: list[str] = []
    for path, parameter in model.named_parameters():
        parts = getattr(model.get_submodule(path.rpartition(".")[0]), "parts", ())
        fused = [f"{path}@{i}" for i in range(len(parts))] if parts else []
        if placed.isdisjoint(fused):
            missing += [path] if parameter.is_meta else []
        else:
            missing += [part for part in fused if part not in placed]
    return missing
