"""What a checkpoint applies to pooled vectors: the Dense modules of sentence-transformers, in their order."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from millpond.errors import CheckpointError
from millpond.loading.weights import NAMES, read_tensors

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond.loading.sentence_transformers import Module
    from millpond.registry import Registry

WEIGHT_KEYS = ("linear.weight", "dense.weight", "weight")


class Dense(nn.Module):
    """A linear map and an activation, in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.float(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.float(), requires_grad=False)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, in_features] -> [num_rows, out_features]."""
        return self.activation(nn.functional.linear(x, self.weight, self.bias))


def load_projector(
    registry: "Registry", repository: "Repository", *, device: torch.device, allow_pickle: bool
) -> nn.Sequential | None:
    """The Dense modules of a repository; None if it has none."""
    modules = repository.sentence_transformers.dense
    if not modules:
        return None
    return nn.Sequential(*(_load(registry, module, allow_pickle) for module in modules)).to(device)


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
    weight, bias = tensors[key], tensors.get(key.removesuffix("weight") + "bias")
    expected = [module.config.get("out_features"), module.config.get("in_features")]
    if list(weight.shape) != expected:
        message = f"{path}: {key!r} has the shape {list(weight.shape)}, where its config.json says {expected}"
        raise CheckpointError(message)
    if bias is None and module.config.get("bias", True):
        message = f"{path} has no bias, where its config.json says that there is one"
        raise CheckpointError(message)
    return Dense(weight, bias, activation)
