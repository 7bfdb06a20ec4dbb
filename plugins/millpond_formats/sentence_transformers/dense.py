"""The Dense module of sentence-transformers: a linear map and an activation."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from millpond.types.errors import CheckpointError
from millpond_formats.sentence_transformers.module import PRELU

if TYPE_CHECKING:
    from millpond.context import Context
    from millpond.loading.weights import ModuleWeights

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


def load_dense(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> Dense:
    """The module with its weights.

    Raises:
        CheckpointError: If they are missing, or do not fit its config.
    """
    # Read as data: of "torch.nn.modules.activation.Tanh" the last name counts, and only a registered one.
    dotted = str(config.get("activation_function", "tanh") or "identity")
    named = dotted.rpartition(".")[2].lower()
    key = next((key for key in WEIGHT_KEYS if key in weights.names), None)
    if key is None:
        message = f"{weights.path} has none of {', '.join(WEIGHT_KEYS)}; it has: {', '.join(weights.names)}"
        raise CheckpointError(message)
    width = config.get("out_features")
    weight = weights.get(key, [width, config.get("in_features")])
    bias_key = key.removesuffix("weight") + "bias"
    if bias_key not in weights.names and config.get("bias", True):
        message = f"{weights.path} has no bias, where its config.json says that there is one"
        raise CheckpointError(message)
    bias = weights.get(bias_key, [width]) if bias_key in weights.names else None
    activation = _prelu(weights) if named == PRELU else ctx.activation(named)
    return Dense(weight, bias, activation, _residual(ctx, config, weights), linear=ctx.op("linear"))


def _prelu(weights: "ModuleWeights") -> Callable[[Tensor], Tensor]:
    """ReLU with the slope of negative values that was learnt."""
    if SLOPE_KEY not in weights.names:
        message = f"{weights.path} has no {SLOPE_KEY!r}, where its config.json names the activation PReLU"
        raise CheckpointError(message)
    slope = weights.get(SLOPE_KEY, [1])
    return lambda x: nn.functional.prelu(x, slope)


def _residual(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> nn.Module | None:
    width, depth = config.get("out_features"), config.get("in_features")
    if not config.get("use_residual", False):
        return None
    if width == depth:
        return nn.Identity()
    if RESIDUAL_KEY not in weights.names:
        message = f"{weights.path} has no {RESIDUAL_KEY!r}, where its config.json asks for a residual of another size"
        raise CheckpointError(message)
    return Dense(weights.get(RESIDUAL_KEY, [width, depth]), None, nn.Identity(), linear=ctx.op("linear"))
