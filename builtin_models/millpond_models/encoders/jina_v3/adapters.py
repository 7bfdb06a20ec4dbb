"""Low-rank adapters that a checkpoint holds beside its weights, one for each purpose (arXiv 2106.09685).

Such a weight is three tensors, ``NAME.parametrizations.weight.original`` and, instead of ``original``, ``0.lora_A`` and
``0.lora_B``; A and B have a first dimension over the adapters. One adapter is merged into the weights. What sets each
other apart from that one, which is of low rank as well, is kept beside them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from millpond.nn import Linear
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError

PART = re.compile(r"(.+)\.parametrizations\.weight\.(original|0\.lora_A|0\.lora_B)")
PARTS = ("original", "0.lora_A", "0.lora_B")
CHOICE = "lora_adaptation"
NAMES = "lora_adaptations"


@dataclass(frozen=True)
class LowRank:
    """A change of a weight: ``up @ down``.

    Attributes:
        up: [rows, rank].
        down: [rank, columns].
    """

    up: Tensor
    down: Tensor


@dataclass
class Adapters:
    """The adapters of a checkpoint, once ``merge`` has read it.

    Attributes:
        config: config.json.
        merged: The name of the one that is in the weights; None if they have no names, or there are none.
        changes: Of each other, by its name, what it changes: the checkpoint's names of weights, without ``.weight``.
    """

    config: CheckpointConfig
    merged: str | None = None
    changes: dict[str, dict[str, LowRank]] = field(default_factory=lambda: defaultdict(dict))

    def merge(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The tensors of a checkpoint, with one adapter merged into each weight that has adapters.

        Which one, ``lora_adaptation`` says, by its name in ``lora_adaptations`` or by its place there; the last by
        default.

        Args:
            weights: The tensors by their names in the checkpoint.

        Raises:
            CheckpointError: If there is no such adapter, or a weight lacks one of its three tensors.
        """
        waiting: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in weights:
            match = PART.fullmatch(name)
            if match is None:
                yield name, tensor
                continue
            weight, part = match.groups()
            waiting[weight][part] = tensor
            if len(waiting[weight]) == len(PARTS):
                yield f"{weight}.weight", self._merged(weight, waiting.pop(weight))
        for weight, parts in waiting.items():
            lacking = ", ".join(part for part in PARTS if part not in parts)
            message = f"the checkpoint has {', '.join(parts)} of {weight}.parametrizations.weight, and lacks {lacking}"
            raise CheckpointError(message)

    def _merged(self, weight: str, parts: Mapping[str, Tensor]) -> Tensor:
        """``original + lora_alpha / rank * B @ A``, in float32."""
        original, a, b = (parts[part].float() for part in PARTS)
        if "embeddings" in weight:  # they are looked up and not multiplied with, so that A and B change places
            a, b = b, a
        rows, columns = original.shape
        count, rank = len(a), a.shape[1]
        fits = a.shape == (count, rank, columns) and b.shape == (count, rows, rank)
        if not fits or rank != self.config.get("lora_rank", rank):
            shapes = ", ".join(f"{part} {list(parts[part].shape)}" for part in PARTS)
            message = f"the adapters of {weight} do not fit, with lora_rank {self.config.get('lora_rank')}: {shapes}"
            raise CheckpointError(message)
        scale = self.config.get("lora_alpha", 1) / rank
        chosen = choose_adapter(self.config, count)
        self._keep_others(weight, a, b * scale, chosen)
        merged: Tensor = original + b[chosen] @ a[chosen] * scale
        return merged

    def _keep_others(self, weight: str, a: Tensor, b: Tensor, chosen: int) -> None:
        """Keep ``B_other A_other - B_chosen A_chosen`` of each adapter that has a name."""
        names = self.config.get(NAMES) or []
        if len(names) != len(a):
            return
        self.merged = names[chosen]
        for place, name in enumerate(names):
            if place != chosen:
                up, down = torch.cat([b[place], -b[chosen]], dim=1), torch.cat([a[place], a[chosen]])
                self.changes[name][weight] = LowRank(up, down)


def choose_adapter(config: CheckpointConfig, count: int) -> int:
    """The place of the adapter that is merged.

    Args:
        config: config.json.
        count: How many there are.

    Raises:
        CheckpointError: If config.json asks for another than there is.
    """
    names = config.get(NAMES) or []
    asked = config.get(CHOICE)
    if asked is None:
        return count - 1
    if asked in names and not isinstance(asked, bool):
        asked = names.index(asked)
    if isinstance(asked, bool) or not isinstance(asked, int) or not -count <= asked < count:
        message = (
            f"config.json: {CHOICE} {asked!r} is no adapter of this checkpoint; there are "
            f"{', '.join(map(repr, names)) or 'none with names'}, or by place 0 to {count - 1}"
        )
        raise CheckpointError(message)
    return asked % count


def changes_by_module(model: nn.Module, changes: Mapping[str, LowRank]) -> dict[str, tuple[Tensor, Tensor]]:
    """Changes of a model's parameters, those of the parts of a fused map as one of the map.

    Args:
        model: The model.
        changes: The change of each parameter that ends in ``.weight``; with ``@i`` behind it, of part i of a fused map.

    Returns:
        ``up`` and ``down`` of each module, by its path.

    Raises:
        CheckpointError: If there is no such parameter, or the change is of another shape.
    """
    parts: dict[str, list[tuple[slice, LowRank]]] = defaultdict(list)
    for parameter, change in changes.items():
        path, _, part = parameter.partition("@")
        module = _module_of(model, path)
        weight = module.get_parameter("weight")
        rows = slice(*module.shards[int(part)]) if part and isinstance(module, Linear) else slice(0, len(weight))
        expected = (rows.stop - rows.start, weight.shape[1])
        if (len(change.up), change.down.shape[1]) != expected:
            message = (
                f"an adapter changes {parameter}, {list(expected)}, by a product of {list(change.up.shape)} and "
                f"{list(change.down.shape)}"
            )
            raise CheckpointError(message)
        parts[path.removesuffix(".weight")].append((rows, change))
    return {path: _side_by_side(own, len(model.get_parameter(f"{path}.weight"))) for path, own in parts.items()}


def _module_of(model: nn.Module, path: str) -> nn.Module:
    try:
        model.get_parameter(path)
    except AttributeError:
        message = f"an adapter changes {path}, which the model does not have"
        raise CheckpointError(message) from None
    return model.get_submodule(path.removesuffix(".weight"))


def _side_by_side(changes: Sequence[tuple[slice, LowRank]], rows: int) -> tuple[Tensor, Tensor]:
    """The changes of some rows of a weight as one of all."""
    ups = []
    for where, change in changes:
        up = change.up.new_zeros(rows, change.up.shape[1])
        up[where] = change.up
        ups.append(up)
    return torch.cat(ups, dim=1), torch.cat([change.down for _, change in changes])
