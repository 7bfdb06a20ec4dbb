"""LoRA adapters inside a checkpoint, one per task (Hu et al., 2021, arXiv 2106.09685).

An adapted weight consists of three tensors: ``NAME.parametrizations.weight.original``, ``0.lora_A`` and ``0.lora_B``;
the first dimension of A and B is the adapter. One adapter is merged into the weights. For each other adapter, the
difference to the merged one, which has a low rank as well, is kept separately.
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

ADAPTED_WEIGHT = re.compile(r"(.+)\.parametrizations\.weight\.(original|0\.lora_A|0\.lora_B)")
TENSORS = ("original", "0.lora_A", "0.lora_B")
SELECTED_KEY = "lora_adaptation"
NAMES_KEY = "lora_adaptations"


@dataclass(frozen=True)
class LowRank:
    """A low-rank update of a weight: ``up @ down``.

    Attributes:
        up: [rows, rank].
        down: [rank, columns].
    """

    up: Tensor
    down: Tensor


@dataclass
class Adapters:
    """The adapters of a checkpoint, complete when ``merge`` has read it.

    Attributes:
        config: config.json.
        merged: Name of the adapter merged into the weights; None without adapters or names.
        updates: Weight updates of the other adapters, by adapter name and weight name (without ``.weight``).
    """

    config: CheckpointConfig
    merged: str | None = None
    updates: dict[str, dict[str, LowRank]] = field(default_factory=lambda: defaultdict(dict))

    def merge(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of a checkpoint, with one adapter merged into each adapted weight.

        ``lora_adaptation`` selects the adapter by its name in ``lora_adaptations`` or by its index (default: the last).

        Args:
            weights: The tensors with their names in the checkpoint.

        Raises:
            CheckpointError: If the selected adapter is missing, or one of the three tensors of a weight.
        """
        pending: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in weights:
            match = ADAPTED_WEIGHT.fullmatch(name)
            if match is None:
                yield name, tensor
                continue
            weight, key = match.groups()
            pending[weight][key] = tensor
            if len(pending[weight]) == len(TENSORS):
                yield f"{weight}.weight", self._merge_weight(weight, pending.pop(weight))
        for weight, tensors in pending.items():
            missing = ", ".join(key for key in TENSORS if key not in tensors)
            message = f"{weight}.parametrizations.weight is incomplete: it has {', '.join(tensors)}, missing: {missing}"
            raise CheckpointError(message)

    def _merge_weight(self, weight: str, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return ``original + lora_alpha / rank * B @ A``, computed in float32."""
        original, a, b = (tensors[key].float() for key in TENSORS)
        if "embeddings" in weight:  # embeddings are looked up instead of multiplied: A and B are swapped
            a, b = b, a
        rows, columns = original.shape
        count, rank = len(a), a.shape[1]
        fits = a.shape == (count, rank, columns) and b.shape == (count, rows, rank)
        if not fits or rank != self.config.get("lora_rank", rank):
            shapes = ", ".join(f"{key} {list(tensors[key].shape)}" for key in TENSORS)
            message = f"the adapters of {weight} do not fit, with lora_rank {self.config.get('lora_rank')}: {shapes}"
            raise CheckpointError(message)
        scale = self.config.get("lora_alpha", 1) / rank
        selected = select_adapter(self.config, count)
        self._keep_others(weight, a, b * scale, selected)
        merged: Tensor = original + b[selected] @ a[selected] * scale
        return merged

    def _keep_others(self, weight: str, a: Tensor, b: Tensor, selected: int) -> None:
        """Keep ``B_other A_other - B_selected A_selected`` of each other adapter, if adapters have names."""
        names = self.config.get(NAMES_KEY) or []
        if len(names) != len(a):
            return
        self.merged = names[selected]
        for index, name in enumerate(names):
            if index != selected:
                up, down = torch.cat([b[index], -b[selected]], dim=1), torch.cat([a[index], a[selected]])
                self.updates[name][weight] = LowRank(up, down)


def select_adapter(config: CheckpointConfig, count: int) -> int:
    """Return the index of the adapter that is merged.

    Args:
        config: config.json.
        count: Number of adapters.

    Raises:
        CheckpointError: If ``lora_adaptation`` is unknown.
    """
    names = config.get(NAMES_KEY) or []
    selected = config.get(SELECTED_KEY)
    if selected is None:
        return count - 1
    if selected in names and not isinstance(selected, bool):
        selected = names.index(selected)
    if isinstance(selected, bool) or not isinstance(selected, int) or not -count <= selected < count:
        available = ", ".join(map(repr, names)) or "none with names"
        message = (
            f"config.json: unknown {SELECTED_KEY} {selected!r}. Available: {available}; or an index from 0 to "
            f"{count - 1}"
        )
        raise CheckpointError(message)
    return selected % count


def updates_by_module(model: nn.Module, updates: Mapping[str, LowRank]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return updates by module, with those of the shards of a fused layer combined.

    Args:
        model: The model.
        updates: Updates by parameter name, ending in ``.weight`` or, for shard i of a fused layer, in ``.weight@i``.

    Returns:
        ``up`` and ``down`` of each module, by its path.

    Raises:
        CheckpointError: If the model has no such parameter, or its shape differs.
    """
    shards: dict[str, list[tuple[slice, LowRank]]] = defaultdict(list)
    for parameter, update in updates.items():
        path, _, shard = parameter.partition("@")
        module = _module_of(model, path)
        weight = module.get_parameter("weight")
        rows = slice(*module.shards[int(shard)]) if shard and isinstance(module, Linear) else slice(0, len(weight))
        expected = (rows.stop - rows.start, weight.shape[1])
        if (len(update.up), update.down.shape[1]) != expected:
            message = (
                f"an adapter updates {parameter}, {list(expected)}, with a product of {list(update.up.shape)} and "
                f"{list(update.down.shape)}"
            )
            raise CheckpointError(message)
        shards[path.removesuffix(".weight")].append((rows, update))
    return {path: _combine(parts, len(model.get_parameter(f"{path}.weight"))) for path, parts in shards.items()}


def _module_of(model: nn.Module, path: str) -> nn.Module:
    try:
        model.get_parameter(path)
    except AttributeError:
        message = f"an adapter updates {path}, which the model does not have"
        raise CheckpointError(message) from None
    return model.get_submodule(path.removesuffix(".weight"))


def _combine(shards: Sequence[tuple[slice, LowRank]], rows: int) -> tuple[Tensor, Tensor]:
    """Return the updates of some rows of a weight as one update of all rows."""
    ups = []
    for span, update in shards:
        up = update.up.new_zeros(rows, update.up.shape[1])
        up[span] = update.up
        ups.append(up)
    return torch.cat(ups, dim=1), torch.cat([update.down for _, update in shards])
