"""WeightTransform: how tensors of a checkpoint become those of a model, where a new name is not enough."""

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
    r"""Makes tensors of other names, or of other values, of tensors of a checkpoint.

    It is applied before ``weight_names``. Patterns match whole names, without ``weight_prefixes``. Of several patterns,
    the tensors whose groups are equal belong together.

    Attributes:
        sources: A pattern for each tensor that goes in.
        targets: The name of each tensor that comes out, with groups of the patterns as in ``re.sub`` (``\1``); empty
            for the name that it had.
        compute: (model, tensors that go in ...) -> the tensor or the tensors that come out. It must be linear in the
            tensors, so that adapters can be transformed as well.
    """

    sources: Sequence[str]
    targets: Sequence[str] = ()
    compute: Callable[..., Tensor | Sequence[Tensor]]

    @classmethod
    def transpose(cls, source: str) -> Self:
        """A matrix is stored as [in_features, out_features]."""
        return cls(sources=(source,), compute=lambda _, tensor: tensor.t())

    @classmethod
    def split(cls, source: str, targets: Sequence[str], sizes: Sequence[int] | None = None) -> Self:
        """Rows of one tensor are those of several, one after the other.

        Args:
            source: The pattern of its name.
            targets: The name of each part.
            sizes: How many rows each part has, as a ratio: ``(1, 2)`` for a third and two thirds; None for equal parts.
        """
        shares = tuple(sizes or [1] * len(targets))
        return cls(sources=(source,), targets=targets, compute=lambda _, tensor: _split(tensor, shares))

    @classmethod
    def concat(cls, sources: Sequence[str], target: str) -> Self:
        """Rows of several tensors are those of one, one after the other."""
        return cls(sources=sources, targets=(target,), compute=lambda _, *tensors: torch.cat(tensors))


def transformed(model: "PoolingModel", weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor, str]]:
    """The tensors of a checkpoint as the transforms of the model make them: name, values, names in the checkpoint.

    Raises:
        CheckpointError: If some of the tensors that belong together are missing, or do not fit.
    """
    waiting: dict[tuple[Any, ...], dict[int, tuple[str, Tensor]]] = {}
    for name, tensor in weights:
        found = _find(model, name) if model.weight_transforms else None
        if found is None:
            yield name, tensor, name
            continue
        number, place, match, prefix = found
        transform = model.weight_transforms[number]
        parts = waiting.setdefault((number, prefix, match.groups()), {})
        parts[place] = name, tensor
        if len(parts) == len(transform.sources):
            del waiting[number, prefix, match.groups()]
            names = ", ".join(parts[at][0] for at in sorted(parts))
            made = _computed(model, transform, [parts[at][1] for at in sorted(parts)], names)
            for target, values in zip(_targets(transform, match, name, prefix), made, strict=True):
                yield target, values, names
    for (number, *_), parts in waiting.items():
        lacking = [pattern for at, pattern in enumerate(model.weight_transforms[number].sources) if at not in parts]
        there = ", ".join(name for name, _ in parts.values())
        message = f"the checkpoint has {there}, and nothing that matches {', '.join(map(repr, lacking))}"
        raise CheckpointError(f"{message}, which {type(model).__name__} reads together")


def transformed_adapter(model: "PoolingModel", changes: Mapping[str, LowRank]) -> dict[str, LowRank]:
    """The changes of an adapter by the names of the model's parameters, transformed like the weights they change.

    Args:
        model: The model.
        changes: What ``up @ down`` is added to each weight of the checkpoint, by its name without ``.weight``.
    """
    plain: dict[str, LowRank] = {}
    dense: list[tuple[str, Tensor]] = []
    for weight, (up, down) in changes.items():
        name = f"{weight}.weight"
        if _find(model, name) is None:
            plain[name] = up, down
        else:
            dense.append((name, up @ down))
    for name, delta, _ in transformed(model, dense):
        plain[name] = delta, torch.eye(delta.shape[1], dtype=delta.dtype)
    targets = {model.parameter_name(name): change for name, change in plain.items()}
    return {target: change for target, change in targets.items() if target is not None}


def _find(model: "PoolingModel", name: str) -> tuple[int, int, re.Match[str], str] | None:
    """The transform of a tensor, the place of its pattern, the match, and the prefix of the name; None for none."""
    prefix = next((prefix for prefix in model.weight_prefixes if name.startswith(prefix)), "")
    bare = name.removeprefix(prefix)
    for number, transform in enumerate(model.weight_transforms):
        for place, pattern in enumerate(transform.sources):
            match = re.fullmatch(pattern, bare)
            if match is not None:
                return number, place, match, prefix
    return None


def _targets(transform: WeightTransform, match: re.Match[str], name: str, prefix: str) -> list[str]:
    return [prefix + match.expand(target) for target in transform.targets] or [name]


def _computed(model: "PoolingModel", transform: WeightTransform, tensors: list[Tensor], names: str) -> list[Tensor]:
    try:
        made = transform.compute(model, *tensors)
    except (RuntimeError, ValueError, IndexError, CheckpointError) as error:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors)
        message = f"the checkpoint's {names} has the shape {shapes}, which {type(model).__name__} cannot read: {error}"
        raise CheckpointError(message) from error
    results = [made] if isinstance(made, Tensor) else list(made)
    expected = len(transform.targets) or 1
    if len(results) != expected or not all(isinstance(result, Tensor) for result in results):
        message = f"{type(model).__name__}: the transform of {names} must return {expected} tensors"
        raise CheckpointError(f"{message}; it returned {', '.join(type(result).__name__ for result in results)}")
    return results


def _split(tensor: Tensor, shares: Sequence[int]) -> Sequence[Tensor]:
    total = sum(shares)
    if tensor.shape[0] % total:
        message = f"{tensor.shape[0]} rows cannot be split in the ratio {':'.join(map(str, shares))}"
        raise ValueError(message)
    unit = tensor.shape[0] // total
    parts: Sequence[Tensor] = torch.split(tensor, [share * unit for share in shares])
    return parts
