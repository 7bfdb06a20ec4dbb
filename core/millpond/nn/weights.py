"""The tensors of a checkpoint: transposed, split or merged, and loaded into a module on the meta device."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.nn.model import PoolingModel

LowRank = tuple[Tensor, Tensor]  # [rows, rank] and [rank, columns]: their product is added to a weight
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


@dataclass(frozen=True, kw_only=True)
class WeightTransform:
    r"""Computes tensors with new names or values from tensors of a checkpoint.

    It is applied before ``weight_names``. Patterns match whole names, without ``weight_prefixes``. With several
    patterns, the tensors whose groups are equal are combined.

    Attributes:
        sources: A pattern for the name of each input tensor.
        targets: The name of each output tensor, with groups of the patterns as in ``re.sub`` (``\1``); empty if the
            name does not change.
        compute: (model, input tensors ...) -> the output tensor or tensors. It must be linear in the tensors, so that
            adapters can be transformed as well.
    """

    sources: Sequence[str]
    targets: Sequence[str] = ()
    compute: Callable[..., Tensor | Sequence[Tensor]]

    @classmethod
    def transpose(cls, source: str) -> Self:
        """Transpose a matrix that is stored as [in_features, out_features]."""
        return cls(sources=(source,), compute=lambda _, tensor: tensor.t())

    @classmethod
    def split(cls, source: str, targets: Sequence[str], sizes: Sequence[int] | None = None) -> Self:
        """Split the rows of one tensor into several tensors.

        Args:
            source: The pattern of its name.
            targets: The name of each part.
            sizes: The ratio of the numbers of rows: ``(1, 2)`` for a third and two thirds; None for equal parts.
        """
        shares = tuple(sizes or [1] * len(targets))
        return cls(sources=(source,), targets=targets, compute=lambda _, tensor: _split(tensor, shares))

    @classmethod
    def concat(cls, sources: Sequence[str], target: str) -> Self:
        """Concatenate the rows of several tensors."""
        return cls(sources=sources, targets=(target,), compute=lambda _, *tensors: torch.cat(tensors))


def transformed(
    model: "PoolingModel", weights: Iterable[tuple[str, Tensor]], sources: dict[str, str] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a checkpoint after the model's transforms, with their names.

    Args:
        model: The model.
        weights: The names and tensors of the checkpoint.
        sources: Filled with the names in the checkpoint of each transformed tensor, by its new name.

    Raises:
        CheckpointError: If input tensors of a transform are missing or have a wrong shape.
    """
    waiting: dict[tuple[Any, ...], dict[int, tuple[str, Tensor]]] = {}
    for name, tensor in weights:
        source = _find_source(model, name)
        if source is None:
            yield name, tensor
            continue
        number, index, match, prefix = source
        transform = model.weight_transforms[number]
        inputs = waiting.setdefault((number, prefix, match.groups()), {})
        inputs[index] = name, tensor
        if len(inputs) == len(transform.sources):
            del waiting[number, prefix, match.groups()]
            names = ", ".join(inputs[i][0] for i in sorted(inputs))
            outputs = _computed(model, transform, [inputs[i][1] for i in sorted(inputs)], names)
            for target, values in zip(_targets(transform, match, name, prefix), outputs, strict=True):
                if sources is not None:
                    sources[target] = names
                yield target, values
    for (number, *_), inputs in waiting.items():
        missing = [pattern for i, pattern in enumerate(model.weight_transforms[number].sources) if i not in inputs]
        present = ", ".join(name for name, _ in inputs.values())
        message = f"the checkpoint has {present} but no tensor that matches {', '.join(map(repr, missing))}"
        raise CheckpointError(f"{message}; {type(model).__name__} needs them together")


def transformed_adapter(model: "PoolingModel", changes: Mapping[str, LowRank]) -> dict[str, LowRank]:
    """Return the changes of an adapter by parameter name, transformed like the weights that they change.

    Args:
        model: The model.
        changes: The matrices ``up`` and ``down`` for each changed weight of the checkpoint, by its name without
            ``.weight``; ``up @ down`` is added to the weight.
    """
    plain: dict[str, LowRank] = {}
    dense: list[tuple[str, Tensor]] = []
    for weight, (up, down) in changes.items():
        name = f"{weight}.weight"
        if _find_source(model, name) is None:
            plain[name] = up, down
        else:
            dense.append((name, up @ down))
    for name, delta in transformed(model, dense):
        plain[name] = delta, torch.eye(delta.shape[1], dtype=delta.dtype)
    targets = {model.parameter_name(name): change for name, change in plain.items()}
    return {target: change for target, change in targets.items() if target is not None}


def without_prefix(model: "PoolingModel", name: str) -> tuple[str, str]:
    """Return the prefix of ``weight_prefixes`` that a name has, or an empty string, and the name without it."""
    for prefix in model.weight_prefixes:
        if name.startswith(prefix):
            return prefix, name.removeprefix(prefix)
    return "", name


def _find_source(model: "PoolingModel", name: str) -> tuple[int, int, re.Match[str], str] | None:
    """The indices of the transform and of its pattern that match a name, the match, and the prefix; None for none."""
    prefix, bare = without_prefix(model, name)
    for number, transform in enumerate(model.weight_transforms):
        for index, pattern in enumerate(transform.sources):
            match = re.fullmatch(pattern, bare)
            if match is not None:
                return number, index, match, prefix
    return None


def _targets(transform: WeightTransform, match: re.Match[str], name: str, prefix: str) -> list[str]:
    return [prefix + match.expand(target) for target in transform.targets] or [name]


def _computed(model: "PoolingModel", transform: WeightTransform, tensors: list[Tensor], names: str) -> list[Tensor]:
    try:
        outputs = transform.compute(model, *tensors)
    except (RuntimeError, ValueError, IndexError, CheckpointError) as error:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors)
        message = f"the checkpoint's {names} has the shape {shapes}, which {type(model).__name__} cannot read: {error}"
        raise CheckpointError(message) from error
    computed = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    expected = len(transform.targets) or 1
    if len(computed) != expected or not all(isinstance(output, Tensor) for output in computed):
        message = f"{type(model).__name__}: the transform of {names} must return {expected} tensors"
        raise CheckpointError(f"{message}; it returned {', '.join(type(output).__name__ for output in computed)}")
    return computed


def _split(tensor: Tensor, shares: Sequence[int]) -> Sequence[Tensor]:
    total = sum(shares)
    if tensor.shape[0] % total:
        message = f"{tensor.shape[0]} rows cannot be split in the ratio {':'.join(map(str, shares))}"
        raise ValueError(message)
    unit = tensor.shape[0] // total
    parts: Sequence[Tensor] = torch.split(tensor, [share * unit for share in shares])
    return parts
