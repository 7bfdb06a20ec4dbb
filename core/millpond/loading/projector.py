"""What a checkpoint applies to pooled vectors: the Dense modules of sentence-transformers, in their order."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from millpond.errors import CheckpointError
from millpond.loading.weights import NAMES, check_finite, read_tensors

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond.loading.sentence_transformers import Module
    from millpond.registry import Registry

WEIGHT_KEYS = ("linear.weight", "dense.weight", "weight")
RESIDUAL_KEY = "residual.weight"


class Dense(nn.Module):
    """A linear map and an activation, in float32; with a residual, what it takes is added to what it gives."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        activation: Callable[[Tensor], Tensor],
        residual: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.float(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.float(), requires_grad=False)
        self.activation = activation
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, in_features] -> [num_rows, out_features]."""
        mapped = self.activation(nn.functional.linear(x, self.weight, self.bias))
        return mapped if self.residual is None else mapped + self.residual(x)


def load_projector(
    registry: "Registry", repository: "Repository", *, device: torch.device, allow_pickle: bool
) -> nn.Sequential | None:
    """The Dense modules of a repository; None if it has none."""
    modules = repository.sentence_transformers.dense
    if not modules:
        return None
    layers = [_load(registry, module, allow_pickle) for module in modules]
    for module, before, layer in zip(modules[1:], layers, layers[1:], strict=False):
        if layer.weight.shape[1] != before.weight.shape[0]:
            message = (
                f"{module.path} takes {layer.weight.shape[1]} dimensions, where the Dense module before it gives "
                f"{before.weight.shape[0]}"
            )
            raise CheckpointError(message)
    return nn.Sequential(*layers).to(device)


def _load(registry: "Registry", module: "Module", allow_pickle: bool) -> Dense:
    # Read as data: of "torch.nn.modules.activation.Tanh" the last name counts, and only a registered one.
    dotted = str(module.config.get("activation_function") or "identity")
    activation = registry.activations.get(dotted.rpartition(".")[2].lower()).load()
    path = next((module.path / name for name in NAMES if (module.path / name).exists()), None)
    if path is None:
        message = f"{module.path} is a Dense module without weights: it should hold {' or '.join(NAMES)}"
        raise CheckpointError(message)
    tensors = dict(read_tensors(path, allow_pickle=allow_pickle))
    key = next((key for key in WEIGHT_KEYS if key in tensors), None)
    if key is None:
        message = f"{path} has none of {', '.join(WEIGHT_KEYS)}; it has: {', '.join(sorted(tensors))}"
        raise CheckpointError(message)
    width, depth = module.config.get("out_features"), module.config.get("in_features")
    weight = _checked(tensors, key, [width, depth], path)
    bias_key = key.removesuffix("weight") + "bias"
    if bias_key not in tensors and module.config.get("bias", True):
        message = f"{path} has no bias, where its config.json says that there is one"
        raise CheckpointError(message)
    bias = _checked(tensors, bias_key, [width], path) if bias_key in tensors else None
    return Dense(weight, bias, activation, _residual(module, tensors, path))


def _residual(module: "Module", tensors: Mapping[str, Tensor], path: Path) -> nn.Module | None:
    width, depth = module.config.get("out_features"), module.config.get("in_features")
    if not module.config.get("use_residual", False):
        return None
    if width == depth:
        return nn.Identity()
    if RESIDUAL_KEY not in tensors:
        message = f"{path} has no {RESIDUAL_KEY!r}, where its config.json asks for a residual of another size"
        raise CheckpointError(message)
    return Dense(_checked(tensors, RESIDUAL_KEY, [width, depth], path), None, nn.Identity())


def _checked(tensors: Mapping[str, Tensor], key: str, expected: list[object], path: Path) -> Tensor:
    tensor = tensors[key]
    if list(tensor.shape) != expected:
        message = f"{path}: {key!r} has the shape {list(tensor.shape)}, where its config.json says {expected}"
        raise CheckpointError(message)
    check_finite(key, tensor, path)
    return tensor
