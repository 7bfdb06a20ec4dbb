"""Test cases of the op ``encoder_layer``."""

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from millpond.nn import AttentionSpec, PackedBatch
from millpond.testing.kernel_cases import Kernel, KernelCases, OpOptions, Tensors
from millpond_kernels.testing.parts import AttentionModule, LinearModule

EPS = 1e-5
LINEARS = ("qkv", "output", "up", "down")


class EncoderLayerCases(KernelCases):
    """``kernel(qkv=..., attention=..., ...)(x, batch)``: [rows, size] -> [rows, size].

    A width is a ``head_dim``.
    """

    ops = ("linear", "attention", "gelu", "layer_norm_residual", "feed_forward")
    widths = (16, 5, 32, 48)

    def settings(self) -> Sequence[OpOptions]:
        """Heads with and without ``heads * head_dim == size``; odd sizes; causal attention and a window."""
        shapes = ({"size": 48, "heads": 3, "inner": 80}, {"size": 20, "heads": 1, "inner": 33})
        plain = [{**shape, "causal": False, "window": None} for shape in shapes]
        return [*plain, {**shapes[0], "causal": True, "window": None}, {**shapes[0], "causal": False, "window": 2}]

    def with_parts(self, kernel: Kernel, parts: Mapping[str, Kernel]) -> Kernel:
        """Construct the kernel from linear layers, attention, a feed-forward block and norms, then call it."""

        def built(tensors: Tensors, batch: PackedBatch, spec: AttentionSpec, num_heads: int) -> Tensor:
            linears = {name: LinearModule(parts["linear"], tensors[name], tensors[f"{name}_bias"]) for name in LINEARS}
            layer = kernel(
                qkv=linears["qkv"],
                attention=AttentionModule(parts["attention"], spec),
                output=linears["output"],
                feed_forward=parts["feed_forward"](up=linears["up"], down=linears["down"], gelu=parts["gelu"]),
                norm=parts["layer_norm_residual"],
                attention_norm=(tensors["output_bias"], tensors["weight"], tensors["shift"], EPS),
                feed_forward_norm=(tensors["down_bias"], tensors["weight"], tensors["shift"], EPS),
                num_heads=num_heads,
            )
            result: Tensor = layer(tensors["x"], batch)
            return result

        return built

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Rows x [num_tokens, size], weights that preserve the scale of values, biases, and the vectors of norms."""
        size, inner, whole = setting["size"], setting["inner"], setting["heads"] * width
        shapes = {"qkv": (3 * whole, size), "output": (size, whole), "up": (inner, size), "down": (size, inner)}
        tensors = {"x": torch.randn(num_tokens, size, generator=generator)}
        for name, (outputs, inputs) in shapes.items():
            tensors[name] = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
            tensors[f"{name}_bias"] = torch.randn(outputs, generator=generator)
        return tensors | {name: torch.randn(size, generator=generator) for name in ("weight", "shift")}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """[num_tokens, size]."""
        ids = [torch.zeros(length, dtype=torch.long) for length in lengths]
        batch = PackedBatch.pack(ids, device=tensors["x"].device)
        spec = AttentionSpec(scale=0.25, causal=setting["causal"], window=setting["window"])
        result: Tensor = kernel(tensors, batch, spec, setting["heads"])
        return result
