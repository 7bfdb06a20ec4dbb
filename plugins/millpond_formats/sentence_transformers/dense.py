"""What a checkpoint applies to pooled vectors: the modules of sentence-transformers after Pooling, in their order."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from millpond.loading.weights import NAMES, check_finite, read_tensors
from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.layer_norm import PooledLayerNorm, load_layer_norm
from millpond_formats.sentence_transformers.module import LAYER_NORM, NORMALIZE, PRELU

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.repository import Repository
    from millpond_formats.sentence_transformers.module import Module

WEIGHT_KEYS = ("linear.weight", "dense.weight", "weight")
RESIDUAL_KEY = "residual.weight"
SLOPE_KEY = "activation_function.weight"


class Dense(nn.Module):
    """A linear map and an activation, in float32; with a residual, what it takes is added to what it gives."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        activation: Callable[[Tensor], Tensor],
        residual: Callable[[Tensor], Tensor] | None = None,
        *,
        linear: Callable[..., Callable[[Tensor], Tensor]],
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.map = linear(weight, bias)
        self.activation = activation
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, in_features] -> [num_rows, out_features]."""
        mapped = self.activation(self.map(x))
        return mapped if self.residual is None else mapped + self.residual(x)


class Normalized(nn.Module):
    """Vectors divided by their length, between other modules."""

    def __init__(self, normalize: Callable[[Tensor], Tensor], size: int) -> None:
        super().__init__()
        self.in_features = self.out_features = size  # 0 where no module before it decides it
        self.normalize = normalize

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, size] -> [num_rows, size]."""
        return self.normalize(x)


def load_projector(ctx: "Context", repository: "Repository", *, allow_pickle: bool) -> nn.Sequential | None:
    """The modules of a repository after Pooling, in float32; None if it has none."""
    modules = repository.sentence_transformers.after_pooling
    if not modules:
        return None
    ctx = ctx.for_head()
    layers: list[Dense | PooledLayerNorm | Normalized] = []
    width: int | None = None
    for module in modules:
        layer = _load(ctx, module, width, allow_pickle)
        if width not in (None, layer.in_features):
            message = (
                f"{module.path} takes {layer.in_features} dimensions, where the Dense module before it gives {width}"
            )
            raise CheckpointError(message)
        width = int(layer.out_features) or None
        layers.append(layer)
    return nn.Sequential(*layers)


def _load(
    ctx: "Context", module: "Module", width: int | None, allow_pickle: bool
) -> "Dense | PooledLayerNorm | Normalized":
    """A module after Pooling; ``width`` is that of its input where a module before it decides it."""
    if module.type == LAYER_NORM:
        return load_layer_norm(ctx, module, allow_pickle=allow_pickle)
    if module.type == NORMALIZE:
        return Normalized(ctx.activation("normalize"), width or 0)
    return load_dense(ctx, module, allow_pickle)


def load_dense(ctx: "Context", module: "Module", allow_pickle: bool) -> Dense:
    """A Dense module with its weights."""
    # Read as data: of "torch.nn.modules.activation.Tanh" the last name counts, and only a registered one.
    dotted = str(module.config.get("activation_function", "tanh") or "identity")
    named = dotted.rpartition(".")[2].lower()
    path = next((module.path / name for name in NAMES if (module.path / name).exists()), None)
    if path is None:
        message = f"{module.path} is a Dense module without weights: it should hold {' or '.join(NAMES)}"
        raise CheckpointError(message)
    tensors = {name: t.to(ctx.device, torch.float32) for name, t in read_tensors(path, allow_pickle=allow_pickle)}
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
    activation = _prelu(tensors, path) if named == PRELU else ctx.activation(named)
    return Dense(weight, bias, activation, _residual(ctx, module, tensors, path), linear=ctx.op("linear"))


def _prelu(tensors: Mapping[str, Tensor], path: Path) -> Callable[[Tensor], Tensor]:
    """ReLU with the slope of negative values that was learnt."""
    if SLOPE_KEY not in tensors:
        message = f"{path} has no {SLOPE_KEY!r}, where its config.json names the activation PReLU"
        raise CheckpointError(message)
    slope = _checked(tensors, SLOPE_KEY, [1], path)
    return lambda x: nn.functional.prelu(x, slope)


def _residual(ctx: "Context", module: "Module", tensors: Mapping[str, Tensor], path: Path) -> nn.Module | None:
    width, depth = module.config.get("out_features"), module.config.get("in_features")
    if not module.config.get("use_residual", False):
        return None
    if width == depth:
        return nn.Identity()
    if RESIDUAL_KEY not in tensors:
        message = f"{path} has no {RESIDUAL_KEY!r}, where its config.json asks for a residual of another size"
        raise CheckpointError(message)
    weight = _checked(tensors, RESIDUAL_KEY, [width, depth], path)
    return Dense(weight, None, nn.Identity(), linear=ctx.op("linear"))


def _checked(tensors: Mapping[str, Tensor], key: str, expected: list[object], path: Path) -> Tensor:
    tensor = tensors[key]
    if list(tensor.shape) != expected:
        message = f"{path}: {key!r} has the shape {list(tensor.shape)}, where its config.json says {expected}"
        raise CheckpointError(message)
    check_finite(key, tensor, path)
    return tensor
