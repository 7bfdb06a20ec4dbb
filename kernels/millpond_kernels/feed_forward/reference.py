"""The ops ``feed_forward`` and ``gated_feed_forward``, one op at a time."""

from collections.abc import Callable

from torch import Tensor

Linear = Callable[..., Tensor]


class FeedForwardReference:
    """``down(gelu(up(x)))`` with the exact GELU, one op at a time. All kernels of the op have this interface.

    Args:
        up: The first linear layer; its attribute ``bias`` may be None.
        down: The second linear layer.
        gelu: A kernel of the op ``gelu``.
    """

    def __init__(self, *, up: Linear, down: Linear, gelu: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.up, self.down, self.gelu = up, down, gelu

    def __call__(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], without the bias of ``down``."""
        inner = self.up(x, add_bias=False)
        bias: Tensor | None = getattr(self.up, "bias", None)
        inner = self.gelu(inner, inner.new_zeros(inner.shape[-1]) if bias is None else bias)
        return self.down(inner, add_bias=False)


class GatedFeedForwardReference:
    """``down(gated(gate_up(x)))``, one op at a time. All kernels of the op have this interface.

    Args:
        gate_up: The linear layer whose outputs are the gate, then the factor.
        down: The second linear layer.
        gated: A kernel of the op ``gated``.
        activation: The name of the gate's activation.
    """

    def __init__(
        self, *, gate_up: Linear, down: Linear, gated: Callable[[Tensor, str], Tensor], activation: str
    ) -> None:
        self.gate_up, self.down, self.gated, self.activation = gate_up, down, gated, activation

    def __call__(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]; ``add_bias=False`` leaves out the bias of ``down``."""
        return self.down(self.gated(self.gate_up(x), self.activation), add_bias=add_bias)
