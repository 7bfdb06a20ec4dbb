"""Test cases of activations, gates and feed-forward blocks."""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from millpond.testing.kernel_cases import Kernel, KernelCases, OpOptions, Tensors
from millpond_kernels.testing.parts import LinearModule


class GeluCases(KernelCases):
    """``kernel(x, bias)``."""

    overwrites = ("x",)

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width] in the curved range of the function, and the bias [width]."""
        del setting
        return {
            "x": 3 * torch.randn(num_tokens, width, generator=generator),
            "bias": torch.randn(width, generator=generator),
        }


class GatedCases(KernelCases):
    """``kernel(x, activation)``; a width is the size of half a row."""

    def settings(self) -> Sequence[OpOptions]:
        """All activations."""
        return [{"activation": name} for name in ("silu", "gelu", "gelu_tanh", "quick_gelu", "relu")]

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Rows x [num_tokens, 2 * width] in the curved range of the functions."""
        del setting
        return {"x": 3 * torch.randn(num_tokens, 2 * width, generator=generator)}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """[num_tokens, width]."""
        del lengths
        gated: Tensor = kernel(tensors["x"], setting["activation"])
        return gated


class FeedForwardCases(KernelCases):
    """``kernel(up=..., down=..., gelu=...)(x)``: [rows, size] -> [rows, size]."""

    ops = ("linear", "gelu")

    def settings(self) -> Sequence[OpOptions]:
        """Small and large inner sizes, with and without a bias."""
        return [{"inner": inner, "bias": bias} for inner in (48, 1, 130) for bias in (True, False)]

    def with_parts(self, kernel: Kernel, parts: Mapping[str, Kernel]) -> Kernel:
        """Construct the kernel from linear layers and a GELU, then call it."""

        def built(x: Tensor, up: Tensor, down: Tensor, bias: Tensor | None = None) -> Tensor:
            linears = LinearModule(parts["linear"], up, bias), LinearModule(parts["linear"], down, None)
            result: Tensor = kernel(up=linears[0], down=linears[1], gelu=parts["gelu"])(x)
            return result

        return built

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], weights that preserve the scale of values, and the bias of the first layer."""
        inner = setting["inner"]
        tensors = {
            "x": torch.randn(num_tokens, width, generator=generator),
            "up": torch.randn(inner, width, generator=generator) / width**0.5,
            "down": torch.randn(width, inner, generator=generator) / inner**0.5,
        }
        return tensors | ({"bias": torch.randn(inner, generator=generator)} if setting["bias"] else {})


class GatedFeedForwardCases(KernelCases):
    """``kernel(gate_up=..., down=..., gated=..., activation=...)(x)``: [rows, width] -> [rows, out]."""

    ops = ("linear", "gated")
    widths = (33, 64, 128)  # inner sizes; compiled layers in float32 are fused only for whole panels

    def settings(self) -> Sequence[OpOptions]:
        """All activations, with and without biases."""
        return [
            {"out": out, "bias": bias, "activation": activation}
            for out, bias in ((48, True), (1, False), (37, True))
            for activation in ("silu", "gelu", "gelu_tanh", "quick_gelu", "relu")
        ]

    def with_parts(self, kernel: Kernel, parts: Mapping[str, Kernel]) -> Kernel:
        """Construct the kernel from linear layers and a gated activation, then call it."""

        def built(activation: str, x: Tensor, gate_up: Tensor, down: Tensor, *biases: Tensor) -> Tensor:
            first, last = biases or (None, None)
            linears = {
                "gate_up": LinearModule(parts["linear"], gate_up, first),
                "down": LinearModule(parts["linear"], down, last),
            }
            result: Tensor = kernel(**linears, gated=parts["gated"], activation=activation)(x)
            return result

        return built

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], weights that preserve the scale of values, and biases."""
        shapes = {"gate_up": (2 * width, width), "down": (setting["out"], width)}
        tensors = {name: torch.randn(shape, generator=generator) / width**0.5 for name, shape in shapes.items()}
        if setting["bias"]:
            tensors |= {f"{name}_bias": torch.randn(shape[0], generator=generator) for name, shape in shapes.items()}
        return {"x": torch.randn(num_tokens, width, generator=generator), **tensors}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """[num_tokens, out]."""
        del lengths
        result: Tensor = kernel(setting["activation"], *tensors.values())
        return result
