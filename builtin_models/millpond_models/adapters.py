"""Low-rank adapters that a checkpoint holds beside its weights: the one of a task is merged (arXiv 2106.09685).

Such a weight is three tensors, ``NAME.parametrizations.weight.original`` and, instead of ``original``, ``0.lora_A`` and
``0.lora_B``; A and B have a first dimension over the tasks.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from millpond.config import CheckpointConfig
from millpond.errors import CheckpointError

PART = re.compile(r"(.+)\.parametrizations\.weight\.(original|0\.lora_A|0\.lora_B)")
PARTS = ("original", "0.lora_A", "0.lora_B")
CHOICE = "lora_adaptation"


def merge_adapters(weights: Iterable[tuple[str, Tensor]], config: CheckpointConfig) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a checkpoint, with one adapter merged into each weight that has adapters.

    Which one, ``lora_adaptation`` says, by its name in ``lora_adaptations`` or by its place there; the last by default.

    Args:
        weights: The tensors by their names in the checkpoint.
        config: config.json.

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
            yield f"{weight}.weight", _merge(weight, waiting.pop(weight), config)
    for weight, parts in waiting.items():
        lacking = ", ".join(part for part in PARTS if part not in parts)
        message = f"the checkpoint has {', '.join(parts)} of {weight}.parametrizations.weight, and lacks {lacking}"
        raise CheckpointError(message)


def choose_adapter(config: CheckpointConfig, count: int) -> int:
    """The place of the adapter that is merged.

    Args:
        config: config.json.
        count: How many there are.

    Raises:
        CheckpointError: If config.json asks for another than there is.
    """
    names = config.get("lora_adaptations") or []
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
    return asked


def _merge(weight: str, parts: Mapping[str, Tensor], config: CheckpointConfig) -> Tensor:
    """``original + lora_alpha / rank * B @ A``, in float32."""
    original, a, b = (parts[part].float() for part in PARTS)
    if "embeddings" in weight:  # they are looked up and not multiplied with, so that A and B change places
        a, b = b, a
    rows, columns = original.shape
    tasks, rank = len(a), a.shape[1]
    fits = a.shape == (tasks, rank, columns) and b.shape == (tasks, rows, rank)
    if not fits or rank != config.get("lora_rank", rank):
        shapes = ", ".join(f"{part} {list(parts[part].shape)}" for part in PARTS)
        message = f"the adapters of {weight} do not fit, with lora_rank {config.get('lora_rank')}: {shapes}"
        raise CheckpointError(message)
    task = choose_adapter(config, tasks)
    merged: Tensor = original + b[task] @ a[task] * (config.get("lora_alpha", 1) / rank)
    return merged
