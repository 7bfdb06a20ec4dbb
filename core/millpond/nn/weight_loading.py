"""Load a checkpoint's tensors into a module that was built on the meta device."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from millpond.types.errors import CheckpointError

STORED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)  # of weights until they are converted


@dataclass
class LoadedWeights:
    """The result of loading a checkpoint's tensors.

    Attributes:
        names: The parameters that were loaded; ``name@i`` for shard i of a fused ``Linear``.
        unused: The tensors of the checkpoint that do not belong to any parameter.
        missing: Tensors that the checkpoint lacks, in addition to those that ``missing_weights`` finds.
    """

    names: set[str] = field(default_factory=set)
    unused: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def load_parameter(
    model: nn.Module, target: str, tensor: Tensor, *, dtype: torch.dtype, device: torch.device, name: str | None = None
) -> bool:
    """Load a tensor into a parameter; return False if the model has no such parameter.

    The parameter uses the memory of the tensor if their dtypes and devices are equal; otherwise the tensor is copied.

    Args:
        model: The model.
        target: The dotted name of the parameter; ``name@i`` for shard i of a fused ``Linear``.
        tensor: The values.
        dtype: The dtype of floating-point parameters, unless their module has a ``dtype`` attribute. The weight of a
            ``Linear`` keeps the dtype of the tensor until ``prepare``.
        device: The device of the parameter.
        name: The tensor's name in the checkpoint, for errors.

    Raises:
        CheckpointError: If the shapes of the tensor and the parameter differ.
    """
    path, _, shard_id = target.partition("@")
    module_path, _, attribute = path.rpartition(".")
    try:
        module = model.get_submodule(module_path)
    except AttributeError:
        return False
    parameter = module._parameters.get(attribute)  # noqa: SLF001  a parameter on the meta device is replaced, not set
    if parameter is None:
        return False
    # ``shards`` is an attribute of ``Linear``.
    start, stop = module.shards[int(shard_id)] if shard_id else (0, parameter.shape[0])  # type: ignore[index]
    expected = (stop - start, *parameter.shape[1:])
    if tuple(tensor.shape) != expected:
        message = (
            f"Shape mismatch for {name or path!r}: the checkpoint has {list(tensor.shape)}, config.json implies "
            f"{list(expected)}. The weights and config.json belong to different models."
        )
        raise CheckpointError(message)
    kept = getattr(module, "dtype", dtype) if parameter.is_floating_point() else parameter.dtype
    if attribute in getattr(module, "converted_by_prepare", ()) and tensor.dtype in STORED_DTYPES:
        kept = tensor.dtype
    if not shard_id:
        values = tensor.to(device=device, dtype=kept).contiguous()
    elif parameter.is_meta:
        values = torch.full(parameter.shape, torch.nan, dtype=kept, device=device)
    else:
        values = parameter.data.to(torch.promote_types(parameter.dtype, kept))
    if shard_id:
        values[start:stop].copy_(tensor)
    module._parameters[attribute] = nn.Parameter(values, requires_grad=False)  # noqa: SLF001
    return True


def missing_weights(model: nn.Module, names: set[str]) -> list[str]:
    """Return the parameters, and shards of fused parameters, that were not loaded.

    Args:
        model: The model.
        names: The parameters that were loaded, see ``LoadedWeights.names``.
    """
    missing: list[str] = []
    partly_loaded = {name.partition("@")[0] for name in names if "@" in name}
    for path, parameter in model.named_parameters():
        if path in partly_loaded:
            shards = model.get_submodule(path.rpartition(".")[0]).shards  # an attribute of ``Linear``
            missing += [shard for i in range(len(shards)) if (shard := f"{path}@{i}") not in names]  # type: ignore[arg-type]
        elif parameter.is_meta:
            missing.append(path)
    return missing
