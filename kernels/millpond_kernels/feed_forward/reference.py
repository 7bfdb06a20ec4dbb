"""The ops ``feed_forward`` and ``gated_feed_forward`` by their parts, one by one."""

from collections.abc import Callable

from torch import Tensor

Linear = Callable[..., Tensor]


class FeedForwardReference:
    """``down(gelu(up(x)))`` with the exact GELU, one part after the other. Kernels of the op are built like this one.

    Args:
        up: The first linear map, with its ``bias``, which may be None.
        down: The second linear map.
        gelu: A kernel of the op ``gelu``.
    """

    def __init__(self, *, up: Linear, down: Linear, gelu: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.up, self.down, self.gelu = up, down, gelu

    def __call__(self, x: Tensor) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size], the bias of ``down`` not yet added."""
        inner = self.up(x, add_bias=False)
        bias: Tensor | None = getattr(self.up, "bias", None)
        inner = self.gelu(inner, inner.new_zeros(inner.shape[-1]) if bias is None else bias)
        return self.down(inner, add_bias=False)


class GatedFeedForwardReference:
    """``down(gated(gate_up(x)))``, one part after the other. Kernels of the op are built and called like this one.

    Args:
        gate_up: The linear map to the gate and, after it, what it is multiplied with.
        down: The linear map after that.
        gated: A kernel of the op ``gated``.
        activation: The name of its activation.
    """

    def __init__(
        self, *, gate_up: Linear, down: Linear, gated: Callable[[Tensor, str], Tensor], activation: str
    ) -> None:
        self.gate_up, self.down, self.gated, self.activation = gate_up, down, gated, activation

    def __call__(self, x: Tensor, *, add_bias: bool = True) -> Tensor:
        """[num_tokens, size] -> [num_tokens, size]; without ``add_bias`` the bias of ``down`` is not yet added."""
        return self.down(self.gated(self.gate_up(x), self.activation), add_bias=add_bias)
