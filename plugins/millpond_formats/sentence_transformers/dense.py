"""The Dense module of sentence-transformers: a linear layer and an activation."""

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
    """A linear layer, an activation and an optional residual connection, in float32."""

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
        self.linear = linear(weight, bias)
        self.activation = activation
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[num_rows, in_features] -> [num_rows, out_features]."""
        output = self.activation(self.linear(x))
        return output if self.residual is None else output + self.residual(x)


def load_dense(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> Dense:
    """Load the module.

    Raises:
        CheckpointError: If the weights are missing or do not match its config.
    """
    # Names such as "torch.nn.modules.activation.Tanh" are not imported: the last part selects a registered activation.
    dotted = str(config.get("activation_function", "tanh") or "identity")
    name = dotted.rpartition(".")[2].lower()
    key = next((key for key in WEIGHT_KEYS if key in weights.names), None)
    if key is None:
        message = f"{weights.path} has none of {', '.join(WEIGHT_KEYS)}. Available: {', '.join(weights.names)}"
        raise CheckpointError(message)
    out_features = config.get("out_features")
    weight = weights.get(key, [out_features, config.get("in_features")])
    bias_key = key.removesuffix("weight") + "bias"
    if bias_key not in weights.names and config.get("bias", True):
        message = f"{weights.path} has no bias, but its config.json specifies one"
        raise CheckpointError(message)
    bias = weights.get(bias_key, [out_features]) if bias_key in weights.names else None
    activation = _prelu(weights) if name == PRELU else ctx.activation(name)
    return Dense(weight, bias, activation, _residual(ctx, config, weights), linear=ctx.op("linear"))


def _prelu(weights: "ModuleWeights") -> Callable[[Tensor], Tensor]:
    """PReLU with its learned slope."""
    if SLOPE_KEY not in weights.names:
        message = f"{weights.path} has no {SLOPE_KEY!r}, but its config.json names the activation PReLU"
        raise CheckpointError(message)
    slope = weights.get(SLOPE_KEY, [1])
    return lambda x: nn.functional.prelu(x, slope)


def _residual(ctx: "Context", config: Mapping[str, Any], weights: "ModuleWeights") -> nn.Module | None:
    out_features, in_features = config.get("out_features"), config.get("in_features")
    if not config.get("use_residual", False):
        return None
    if out_features == in_features:
        return nn.Identity()
    if RESIDUAL_KEY not in weights.names:
        message = f"{weights.path} has no {RESIDUAL_KEY!r}, which its config.json needs for a residual of another size"
        raise CheckpointError(message)
    return Dense(weights.get(RESIDUAL_KEY, [out_features, in_features]), None, nn.Identity(), linear=ctx.op("linear"))
