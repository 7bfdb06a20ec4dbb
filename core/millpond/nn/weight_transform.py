"""WeightTransform: transposes, splits or merges tensors of a checkpoint, where renaming is not enough."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.nn.model import PoolingModel

LowRank = tuple[Tensor, Tensor]  # [rows, rank] and [rank, columns]: their product is added to a weight


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


def _find_source(model: "PoolingModel", name: str) -> tuple[int, int, re.Match[str], str] | None:
    """The indices of the transform and of its pattern that match a name, the match, and the prefix; None for none."""
    prefix = next((prefix for prefix in model.weight_prefixes if name.startswith(prefix)), "")
    bare = name.removeprefix(prefix)
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
