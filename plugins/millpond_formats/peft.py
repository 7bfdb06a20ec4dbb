"""PEFT: LoRA adapters in subfolders of a checkpoint.

Each folder contains adapter_config.json and adapter_model.safetensors, which stores the change of each weight as two
matrices of low rank (Hu et al., 2021, arXiv 2106.09685): ``lora_alpha / r * B @ A``, transposed for embeddings.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.model.files import read_object
from millpond.model.layers import Layer
from millpond.model.repository import Repository
from millpond.model.spec import AdapterFiles
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LORA_NAME = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_(?:([AB])\.weight|embedding_([AB]))")
# Unsupported settings that change the results, with the values that have no effect.
UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "alpha_pattern": ({}, None),
    "bias": ("none", None),
    "fan_in_fan_out": (False, None),
    "lora_bias": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "use_dora": (False, None),
    "use_qalora": (False, None),
}


def read_peft(repository: Repository) -> tuple[Layer, ...]:
    """Return the adapters in the subfolders of a checkpoint, up to two levels deep; nothing without adapters."""
    folders = sorted(path.parent for pattern in ("*", "*/*") for path in repository.path.glob(f"{pattern}/{SETTINGS}"))
    adapters = tuple(AdapterFiles(folder=path, read=partial(read_adapter, path)) for path in folders)
    return (Layer(SETTINGS, {"files.adapters": adapters}),) if adapters else ()


def read_adapter(folder: Path) -> dict[str, tuple["Tensor", "Tensor"]]:
    """Read the changes of an adapter, by the checkpoint's names of weights without ``.weight``.

    Returns:
        ``up`` [rows, rank], multiplied by the scale, and ``down`` [rank, columns] for each weight; ``up @ down`` is
        added to the weight.

    Raises:
        CheckpointError: If files are missing or damaged, or the adapter has an unsupported type.
    """
    from millpond.loading.weights import read_tensors  # noqa: PLC0415  imports torch, which listing adapters does not need

    settings = read_object(folder / SETTINGS)
    scale = _scale(settings, folder / SETTINGS)
    path = folder / WEIGHTS
    if not path.is_file():
        message = f"{folder} has {SETTINGS} but no {WEIGHTS}: download the model again"
        raise CheckpointError(message)
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in read_tensors(path, allow_pickle=False):
        match = LORA_NAME.fullmatch(name)
        if match is None:
            message = f"{path}: unsupported tensor {name!r} in a LoRA adapter"
            raise CheckpointError(message)
        weight, linear, embedding = match.groups()
        if linear:
            parts[weight]["down" if linear == "A" else "up"] = tensor.float()
        else:  # embeddings are stored transposed
            parts[weight]["up" if embedding == "A" else "down"] = tensor.float().T
    return {weight: _pair(weight, matrices, path, scale) for weight, matrices in parts.items()}


def _pair(weight: str, parts: Mapping[str, "Tensor"], path: Path, scale: float) -> tuple["Tensor", "Tensor"]:
    up, down = parts.get("up"), parts.get("down")
    if up is not None and down is not None and up.shape[1] == down.shape[0]:
        return up * scale, down
    shapes = ", ".join(f"{part} {list(tensor.shape)}" for part, tensor in parts.items())
    message = f"{path}: the shapes of A and B of {weight} do not match: {shapes}"
    raise CheckpointError(message)


def _scale(settings: Mapping[str, Any], path: Path) -> float:
    """The factor of ``B @ A``."""
    kind, rank, alpha = settings.get("peft_type"), settings.get("r"), settings.get("lora_alpha")
    if kind != "LORA" or not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        message = f"{path}: expected peft_type 'LORA' with r and lora_alpha; got {kind!r}, {rank!r} and {alpha!r}"
        raise CheckpointError(message)
    for key, without_effect in UNSUPPORTED.items():
        if settings.get(key) not in without_effect:
            message = f"{path}: unsupported {key} {settings[key]!r}"
            raise CheckpointError(message)
    return alpha / (rank**0.5 if settings.get("use_rslora") else rank)
