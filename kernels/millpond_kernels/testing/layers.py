"""Test cases of linear layers and norms."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from millpond.testing.kernel_cases import Kernel, KernelCases, OpOptions, Tensors


class LinearCases(KernelCases):
    """``kernel(weight, bias or None)(x)``: [rows, in] -> [rows, out]."""

    def settings(self) -> Sequence[OpOptions]:
        """Numbers of outputs that are and are not multiples of a vector; with and without a bias."""
        return [{"out": out, "bias": bias} for out in (48, 1, 37) for bias in (True, False)]

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], weight [out, width] that preserves the scale of values, and the bias [out]."""
        tensors = {
            "x": torch.randn(num_tokens, width, generator=generator),
            "weight": torch.randn(setting["out"], width, generator=generator) / width**0.5,
        }
        return tensors | ({"bias": torch.randn(setting["out"], generator=generator)} if setting["bias"] else {})

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """[num_tokens, out]."""
        del lengths, setting
        mapped: Tensor = kernel(tensors["weight"], tensors.get("bias"))(tensors["x"])
        return mapped


class RmsNormCases(KernelCases):
    """``kernel(x, weight, eps)``, for rows or for heads."""

    widths = (12, 16, 33, 64, 100, 384)  # the mean of fewer values is often so small that it amplifies errors

    def settings(self) -> Sequence[OpOptions]:
        """The values of ``eps`` in Llama and Qwen."""
        return [{"eps": eps, "heads": heads} for eps in (1e-5, 1e-6) for heads in (None, 3)]

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], or [num_tokens, heads, width], and the weight [width]."""
        shape = (num_tokens, width) if setting["heads"] is None else (num_tokens, setting["heads"], width)
        return {
            "x": torch.randn(shape, generator=generator),
            "weight": torch.randn(width, generator=generator),
        }

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """The shape of x."""
        del lengths
        normed: Tensor = kernel(tensors["x"], tensors["weight"], setting["eps"])
        return normed


class LayerNormResidualCases(KernelCases):
    """``kernel(x, bias, residual, weight, shift, eps)``."""

    packed = ("x", "residual")
    overwrites = ("x",)
    spoils = ("x", "residual")
    enlarged = ("x", "residual")
    widths = (12, 16, 33, 64, 100, 384)  # the variance of fewer values is often so small that it amplifies errors

    def settings(self) -> Sequence[OpOptions]:
        """The values of ``eps`` in BERT and RoBERTa."""
        return [{"eps": 1e-12}, {"eps": 1e-5}]

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Rows [num_tokens, width] and parameters [width]."""
        del setting
        rows = {name: torch.randn(num_tokens, width, generator=generator) for name in self.packed}
        return {**rows, **{name: torch.randn(width, generator=generator) for name in ("bias", "weight", "shift")}}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """[num_tokens, width]."""
        del lengths
        names = ("x", "bias", "residual", "weight", "shift")
        normed: Tensor = kernel(*(tensors[name] for name in names), setting["eps"])
        return normed
