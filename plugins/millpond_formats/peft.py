"""Adapters of PEFT that lie beside a model's weights, each in a folder: their names, and what each changes.

Such a folder holds adapter_config.json and adapter_model.safetensors, in which a weight's change, of low rank, is two
tensors (Hu et al., 2021, arXiv 2106.09685): ``lora_alpha / r * B @ A``, and of a table the transpose of that.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.loading.files import read_object
from millpond.loading.repository import Repository
from millpond.types.checkpoint import AdapterFacts, CheckpointFacts
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PART = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_(?:([AB])\.weight|embedding_([AB]))")
# What else changes what an adapter computes; each, by this value, does not.
UNKNOWN: Mapping[str, tuple[object, ...]] = {
    "alpha_pattern": ({}, None),
    "bias": ("none", None),
    "fan_in_fan_out": (False, None),
    "lora_bias": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "use_dora": (False, None),
    "use_qalora": (False, None),
}


def read_peft(repository: Repository) -> CheckpointFacts | None:
    """The adapters in folders of a checkpoint, or of a folder in it that has the weights; None if there are none."""
    found = sorted(path.parent for pattern in ("*", "*/*") for path in repository.path.glob(f"{pattern}/{SETTINGS}"))
    adapters = tuple(AdapterFacts(folder=path, read=partial(read_adapter, path)) for path in found)
    return CheckpointFacts(adapters=adapters) if adapters else None


def read_adapter(folder: Path) -> dict[str, tuple["Tensor", "Tensor"]]:
    """What an adapter changes: by the checkpoint's names of weights, without ``.weight``, what ``up @ down`` is added.

    Returns:
        ``up`` [rows, rank], in which the scale is, and ``down`` [rank, columns] for each.

    Raises:
        CheckpointError: If files are missing or damaged, or it is an adapter of another kind.
    """
    from millpond.loading.weights import check_finite, read_tensors  # noqa: PLC0415  needs torch; finding does not

    settings = read_object(folder / SETTINGS)
    scale = _scale(settings, folder / SETTINGS)
    path = folder / WEIGHTS
    if not path.is_file():
        message = f"{folder} has {SETTINGS} and no {WEIGHTS}: fetch the model again"
        raise CheckpointError(message)
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in read_tensors(path, allow_pickle=False):
        check_finite(name, tensor, path)
        match = PART.fullmatch(name)
        if match is None:
            message = f"{path} holds {name!r}, which is no part of an adapter that is known here"
            raise CheckpointError(message)
        weight, of_map, of_table = match.groups()
        if of_map:
            parts[weight]["down" if of_map == "A" else "up"] = tensor.float()
        else:  # a table is looked up and not multiplied with
            parts[weight]["up" if of_table == "A" else "down"] = tensor.float().T
    return {weight: _pair(weight, own, path, scale) for weight, own in parts.items()}


def _pair(weight: str, parts: Mapping[str, "Tensor"], path: Path, scale: float) -> tuple["Tensor", "Tensor"]:
    up, down = parts.get("up"), parts.get("down")
    if up is not None and down is not None and up.shape[1] == down.shape[0]:
        return up * scale, down
    shapes = ", ".join(f"{part} {list(tensor.shape)}" for part, tensor in parts.items())
    message = f"{path}: A and B of {weight} do not fit: {shapes}"
    raise CheckpointError(message)


def _scale(settings: Mapping[str, Any], path: Path) -> float:
    """By what ``B @ A`` is multiplied."""
    kind, rank, alpha = settings.get("peft_type"), settings.get("r"), settings.get("lora_alpha")
    if kind != "LORA" or not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        message = f"{path} says peft_type {kind!r}, r {rank!r} and lora_alpha {alpha!r}; known here is LORA, with both"
        raise CheckpointError(message)
    for key, harmless in UNKNOWN.items():
        if settings.get(key) not in harmless:
            message = f"{path} asks for {key} {settings[key]!r}, which is not known here"
            raise CheckpointError(message)
    return alpha / (rank**0.5 if settings.get("use_rslora") else rank)
