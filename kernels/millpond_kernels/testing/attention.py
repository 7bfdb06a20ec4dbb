"""Test cases of the ops ``attention`` and ``rotary``."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from millpond.nn import NUM_ATTENDED, AttentionBias, EqualLengthGroup, PackedBatch
from millpond.nn.attention import MASKED_TOKENS, AttentionSpec
from millpond.testing.kernel_cases import Kernel, KernelCases, OpOptions, Tensors
from millpond_modeling.distance_bias import DistanceBias


class AttentionCases(KernelCases):
    """``kernel(query, key, value, batch, spec)``, followed by a bias; a width is a ``head_dim``."""

    packed = ("query", "key", "value", "of_query", "of_key")
    spoils = ("key", "value")  # torch's kernel sometimes returns 0 for a query that is not finite
    enlarged = ("query",)  # large scores make the softmax one-hot; large values test nothing more
    sizes = (1e-6, 30.0, 300.0)
    widths = (5, 16, 20, 32, 64, 80)

    def settings(self) -> Sequence[OpOptions]:
        """All combinations of causality, window and shared heads; optional features; combinations of features."""
        return [
            *(
                {"heads": heads, "kv_heads": kv_heads, "causal": causal, "window": window}
                for heads, kv_heads in ((4, 4), (1, 1), (4, 2), (6, 1))
                for causal in (False, True)
                for window in (None, 0, 1, 3, 99)
            ),
            *(
                {"heads": 4, "kv_heads": 2, "causal": causal, "window": window, **more}
                for more in ({"softcap": 1.5}, {"bias": "distance"}, {"bias": "pair"}, {"masked": True})
                for causal, window in ((False, None), (True, 2))
            ),
            *(
                {"heads": 4, "kv_heads": 2, "causal": causal, "window": window, "masked": True, **more}
                for more in ({"softcap": 2.5, "bias": "distance"}, {"softcap": 0.7, "bias": "pair"})
                for causal, window in ((False, 2), (True, None))
            ),
        ]

    def required_features(self, setting: OpOptions) -> tuple[str, ...]:
        """The features of softcap, bias and masked tokens."""
        return (*_spec(setting, 1.0).required_features, *((MASKED_TOKENS,) if setting.get("masked") else ()))

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Query, key and value, [num_tokens, heads, width], and the tensors of biases."""
        heads = {"query": setting["heads"], "key": setting["kv_heads"], "value": setting["kv_heads"]}
        tensors = {name: torch.randn(num_tokens, count, width, generator=generator) for name, count in heads.items()}
        if setting.get("bias") == "distance":
            tensors["by_distance"] = torch.randn(setting["heads"], 2 * num_tokens + 3, generator=generator)
        if setting.get("bias") == "pair":
            for name in ("of_query", "of_key"):
                tensors[name] = torch.randn(num_tokens, setting["heads"], generator=generator)
        return tensors

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """[num_tokens, heads, width]."""
        ids = [torch.zeros(length, dtype=torch.long) for length in lengths]
        query = tensors["query"]
        features = [{NUM_ATTENDED: (2 * length + 2) // 3} for length in lengths] if setting.get("masked") else ()
        batch = PackedBatch.pack(ids, features=features, device=query.device)
        spec = _spec(setting, query.shape[2] ** -0.5)
        biases = () if spec.bias is None else (_bias(tensors),)
        attended: Tensor = kernel(query, tensors["key"], tensors["value"], batch, spec, *biases)
        return attended


class PairBias:
    """An ``AttentionBias`` whose values are products of a value of the query and a value of the key.

    Attributes:
        of_query: [num_tokens, heads].
        of_key: [num_tokens, heads].
    """

    def __init__(self, of_query: Tensor, of_key: Tensor) -> None:
        self.of_query, self.of_key = of_query, of_key

    def __call__(self, group: EqualLengthGroup, queries: range, keys: range) -> Tensor:
        """[count, heads, queries, keys]."""
        left, right = (
            x[group.start : group.stop].unflatten(0, (group.count, group.length)).transpose(1, 2)
            for x in (self.of_query, self.of_key)
        )
        left, right = left[..., queries.start : queries.stop, None], right[..., None, keys.start : keys.stop]
        product: Tensor = left * right
        return product


def _spec(setting: OpOptions, scale: float) -> AttentionSpec:
    return AttentionSpec(
        scale=scale,
        causal=setting["causal"],
        window=setting["window"],
        softcap=setting.get("softcap"),
        bias=setting.get("bias"),
    )


def _bias(tensors: Tensors) -> AttentionBias:
    if "by_distance" in tensors:
        return DistanceBias(tensors["by_distance"])
    return PairBias(tensors["of_query"], tensors["of_key"])


class RotaryCases(KernelCases):
    """``kernel(x, cos, sin)``; a width is a ``head_dim``."""

    packed = ("x", "cos", "sin")
    overwrites = ("x",)
    widths = (2, 6, 16, 32, 42, 64, 80, 128)

    def settings(self) -> Sequence[OpOptions]:
        """One head and several, rotated completely and partially."""
        return [{"heads": heads, "whole": whole} for heads in (3, 1) for whole in (True, False)]

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Heads x [num_tokens, heads, width]; cosines and sines [num_tokens, 1, rotary_dim // 2]."""
        half = width // 2 if setting["whole"] else (width + 2) // 4
        angles = 9 * torch.randn(num_tokens, 1, half, generator=generator)
        x = torch.randn(num_tokens, setting["heads"], width, generator=generator)
        return {"x": x, "cos": angles.cos(), "sin": angles.sin()}
