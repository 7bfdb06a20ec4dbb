"""Arguments for activations, gates and the feed-forward half of a layer."""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from millpond.testing.kernel_cases import Kernel, KernelCases, Setting, Tensors
from millpond_kernels.testing.parts import Mapped


class GeluCases(KernelCases):
    """``kernel(x, bias)``."""

    overwrites = ("x",)

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], where the function bends, and the bias [width]."""
        del setting
        return {
            "x": 3 * torch.randn(num_tokens, width, generator=generator),
            "bias": torch.randn(width, generator=generator),
        }


class GatedCases(KernelCases):
    """``kernel(x, activation)``; a width is that of each half of a row."""

    def settings(self) -> Sequence[Setting]:
        """Each activation."""
        return [{"activation": name} for name in ("silu", "gelu", "gelu_tanh", "quick_gelu", "relu")]

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Rows x [num_tokens, 2 * width], where the functions bend."""
        del setting
        return {"x": 3 * torch.randn(num_tokens, 2 * width, generator=generator)}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """[num_tokens, width]."""
        del lengths
        gated: Tensor = kernel(tensors["x"], setting["activation"])
        return gated


class FeedForwardCases(KernelCases):
    """``kernel(up=..., down=..., gelu=...)`` returns what maps x: [rows, size] to [rows, size]."""

    ops = ("linear", "gelu")

    def settings(self) -> Sequence[Setting]:
        """Few and many rows between the maps, with and without a bias."""
        return [{"inner": inner, "bias": bias} for inner in (48, 1, 130) for bias in (True, False)]

    def with_parts(self, kernel: Kernel, parts: Mapping[str, Kernel]) -> Kernel:
        """Build the kernel of linear maps and a GELU, then call it."""

        def built(x: Tensor, up: Tensor, down: Tensor, bias: Tensor | None = None) -> Tensor:
            maps = Mapped(parts["linear"], up, bias), Mapped(parts["linear"], down, None)
            result: Tensor = kernel(up=maps[0], down=maps[1], gelu=parts["gelu"])(x)
            return result

        return built

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], weights that keep the size of values, and the bias of the first."""
        inner = setting["inner"]
        found = {
            "x": torch.randn(num_tokens, width, generator=generator),
            "up": torch.randn(inner, width, generator=generator) / width**0.5,
            "down": torch.randn(width, inner, generator=generator) / inner**0.5,
        }
        return found | ({"bias": torch.randn(inner, generator=generator)} if setting["bias"] else {})


class GatedFeedForwardCases(KernelCases):
    """``kernel(gate_up=..., down=..., gated=..., activation=...)`` maps x [rows, width] to [rows, out]."""

    ops = ("linear", "gated")
    widths = (33, 64, 128)  # of the rows between the maps; compiled maps in float32 are fused in whole panels only

    def settings(self) -> Sequence[Setting]:
        """Each activation, with and without biases."""
        return [
            {"out": out, "bias": bias, "activation": activation}
            for out, bias in ((48, True), (1, False), (37, True))
            for activation in ("silu", "gelu", "gelu_tanh", "quick_gelu", "relu")
        ]

    def with_parts(self, kernel: Kernel, parts: Mapping[str, Kernel]) -> Kernel:
        """Build the kernel of linear maps and a gate, then call it."""

        def built(activation: str, x: Tensor, gate_up: Tensor, down: Tensor, *biases: Tensor) -> Tensor:
            first, last = biases or (None, None)
            maps = {"gate_up": Mapped(parts["linear"], gate_up, first), "down": Mapped(parts["linear"], down, last)}
            result: Tensor = kernel(**maps, gated=parts["gated"], activation=activation)(x)
            return result

        return built

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], weights that keep the size of values, and biases."""
        shapes = {"gate_up": (2 * width, width), "down": (setting["out"], width)}
        found = {name: torch.randn(shape, generator=generator) / width**0.5 for name, shape in shapes.items()}
        if setting["bias"]:
            found |= {f"{name}_bias": torch.randn(shape[0], generator=generator) for name, shape in shapes.items()}
        return {"x": torch.randn(num_tokens, width, generator=generator), **found}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """[num_tokens, out]."""
        del lengths
        result: Tensor = kernel(setting["activation"], *tensors.values())
        return result
