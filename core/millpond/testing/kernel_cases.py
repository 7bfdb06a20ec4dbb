"""How arguments for the kernels of an op are made, and what of a result belongs to which sequence: a class an op."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from millpond.nn.attention import HIDDEN_TOKENS, AttentionSpec
from millpond.nn.batch import NUM_ATTENDED, PackedBatch, Run
from millpond.nn.bias import AttentionBias, DistanceBias

Tensors = dict[str, Tensor]
Setting = Mapping[str, Any]
Kernel = Callable[..., Any]


class KernelCases:
    """Arguments for an op whose kernels map rows to rows: ``kernel(x)``. Subclass it for an op of your own.

    Attributes:
        packed: The names of the tensors with one row a token, sequences end to end.
        overwrites: Those that a kernel may write its result into.
        spoils: Those in which what is not finite must show in the result.
        enlarged: Those that are made tiny and huge.
        sizes: What they are multiplied with, in float32.
        widths: The sizes of a row, multiples of a vector and not.
    """

    packed: ClassVar[tuple[str, ...]] = ("x",)
    overwrites: ClassVar[tuple[str, ...]] = ()
    spoils: ClassVar[tuple[str, ...]] = ("x",)
    enlarged: ClassVar[tuple[str, ...]] = ("x",)
    sizes: ClassVar[tuple[float, ...]] = (1e-6, 1e4)
    widths: ClassVar[tuple[int, ...]] = (1, 7, 16, 33, 64, 100, 384)

    def settings(self) -> Sequence[Setting]:
        """All that an op can be asked to do: what is no tensor, or says which tensors there are."""
        return ({},)

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """What of a setting a kernel need not do: only those that name it in their record's ``serves`` are asked."""
        del setting
        return ()

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Random tensors by name, in float32 on the CPU."""
        del setting
        return {"x": torch.randn(num_tokens, width, generator=generator)}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """What the kernel makes of the tensors."""
        del lengths, setting
        result: Tensor = kernel(**tensors)
        return result

    def parts(self, result: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
        """What of the result belongs to each sequence."""
        shares: Sequence[Tensor] = result.split(list(lengths))
        return shares


class AttentionCases(KernelCases):
    """``kernel(query, key, value, batch, spec)``, and a bias behind them; a width is a head's."""

    packed = ("query", "key", "value", "of_query", "of_key")
    spoils = ("key", "value")  # of a query that is not finite, torch's own kernel makes 0 at times
    enlarged = ("query",)  # large scores make softmax a choice; large values prove nothing more
    sizes = (1e-6, 30.0, 300.0)
    widths = (5, 16, 20, 32, 64, 80)

    def settings(self) -> Sequence[Setting]:
        """Each causality and window with each way to share heads; then what not every kernel does, and some of both."""
        return [
            *(
                {"heads": heads, "kv_heads": kv_heads, "causal": causal, "window": window}
                for heads, kv_heads in ((4, 4), (1, 1), (4, 2), (6, 1))
                for causal in (False, True)
                for window in (None, 0, 1, 3, 99)
            ),
            *(
                {"heads": 4, "kv_heads": 2, "causal": causal, "window": window, **more}
                for more in ({"softcap": 1.5}, {"bias": "distance"}, {"bias": "pair"}, {"hides": True})
                for causal, window in ((False, None), (True, 2))
            ),
            *(
                {"heads": 4, "kv_heads": 2, "causal": causal, "window": window, "hides": True, **more}
                for more in ({"softcap": 2.5, "bias": "distance"}, {"softcap": 0.7, "bias": "pair"})
                for causal, window in ((False, 2), (True, None))
            ),
        ]

    def needs(self, setting: Setting) -> tuple[str, ...]:
        """A softcap, a bias, hidden tokens."""
        return (*_spec(setting, 1.0).needs, *((HIDDEN_TOKENS,) if setting.get("hides") else ()))

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Query, key and value, [num_tokens, heads, width]; what biases are made of."""
        heads = {"query": setting["heads"], "key": setting["kv_heads"], "value": setting["kv_heads"]}
        found = {name: torch.randn(num_tokens, count, width, generator=generator) for name, count in heads.items()}
        if setting.get("bias") == "distance":
            found["by_distance"] = torch.randn(setting["heads"], 2 * num_tokens + 3, generator=generator)
        if setting.get("bias") == "pair":
            for name in ("of_query", "of_key"):
                found[name] = torch.randn(num_tokens, setting["heads"], generator=generator)
        return found

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """[num_tokens, heads, width]."""
        ids = [torch.zeros(length, dtype=torch.long) for length in lengths]
        query = tensors["query"]
        features = [{NUM_ATTENDED: (2 * length + 2) // 3} for length in lengths] if setting.get("hides") else ()
        batch = PackedBatch.pack(ids, features=features, device=query.device)
        spec = _spec(setting, query.shape[2] ** -0.5)
        biases = () if spec.bias is None else (_bias(tensors),)
        attended: Tensor = kernel(query, tensors["key"], tensors["value"], batch, spec, *biases)
        return attended


class PairBias:
    """For tests: the number of a pair is a product of one of the query's and one of the key's; ``AttentionBias``.

    Attributes:
        of_query: [num_tokens, heads].
        of_key: [num_tokens, heads].
    """

    def __init__(self, of_query: Tensor, of_key: Tensor) -> None:
        self.of_query, self.of_key = of_query, of_key

    def __call__(self, run: Run, queries: range, keys: range) -> Tensor:
        """[count, heads, queries, keys]."""
        left, right = (
            x[run.start : run.stop].unflatten(0, (run.count, run.length)).transpose(1, 2)
            for x in (self.of_query, self.of_key)
        )
        left, right = left[..., queries.start : queries.stop, None], right[..., None, keys.start : keys.stop]
        product: Tensor = left * right
        return product


def _spec(setting: Setting, scale: float) -> AttentionSpec:
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


class RotaryCases(KernelCases):
    """``kernel(x, cos, sin)``; a width is that of a head."""

    packed = ("x", "cos", "sin")
    overwrites = ("x",)
    widths = (2, 6, 16, 32, 42, 64, 80, 128)

    def settings(self) -> Sequence[Setting]:
        """One head and several, turned as a whole and in part."""
        return [{"heads": heads, "whole": whole} for heads in (3, 1) for whole in (True, False)]

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Heads x [num_tokens, heads, width]; cosines and sines [num_tokens, 1, half of what is turned]."""
        half = width // 2 if setting["whole"] else (width + 2) // 4
        angles = 9 * torch.randn(num_tokens, 1, half, generator=generator)
        x = torch.randn(num_tokens, setting["heads"], width, generator=generator)
        return {"x": x, "cos": angles.cos(), "sin": angles.sin()}


class RmsNormCases(KernelCases):
    """``kernel(x, weight, eps)``, of rows or of the heads of tokens."""

    widths = (12, 16, 33, 64, 100, 384)  # a mean over fewer is often so small that it enlarges each error

    def settings(self) -> Sequence[Setting]:
        """What Llama and Qwen add to the mean of squares."""
        return [{"eps": eps, "heads": heads} for eps in (1e-5, 1e-6) for heads in (None, 3)]

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], or [num_tokens, heads, width], and the weight [width]."""
        shape = (num_tokens, width) if setting["heads"] is None else (num_tokens, setting["heads"], width)
        return {
            "x": torch.randn(shape, generator=generator),
            "weight": torch.randn(width, generator=generator),
        }

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """As x."""
        del lengths
        normed: Tensor = kernel(tensors["x"], tensors["weight"], setting["eps"])
        return normed


class LayerNormResidualCases(KernelCases):
    """``kernel(x, bias, residual, weight, shift, eps)``."""

    packed = ("x", "residual")
    overwrites = ("x",)
    spoils = ("x", "residual")
    enlarged = ("x", "residual")
    widths = (12, 16, 33, 64, 100, 384)  # a variance over fewer is often so small that it enlarges each error

    def settings(self) -> Sequence[Setting]:
        """What BERT and RoBERTa add to the variance."""
        return [{"eps": 1e-12}, {"eps": 1e-5}]

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Rows [num_tokens, width] and parameters [width]."""
        del setting
        rows = {name: torch.randn(num_tokens, width, generator=generator) for name in self.packed}
        return {**rows, **{name: torch.randn(width, generator=generator) for name in ("bias", "weight", "shift")}}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """[num_tokens, width]."""
        del lengths
        names = ("x", "bias", "residual", "weight", "shift")
        normed: Tensor = kernel(*(tensors[name] for name in names), setting["eps"])
        return normed


class LinearCases(KernelCases):
    """``kernel(weight, bias or None)`` gives what maps x: [rows, in] to [rows, out]."""

    def settings(self) -> Sequence[Setting]:
        """As many outputs as a vector holds, fewer, and more; with and without a bias."""
        return [{"out": out, "bias": bias} for out in (48, 1, 37) for bias in (True, False)]

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], weight [out, width] that keeps the size of values, and the bias [out]."""
        found = {
            "x": torch.randn(num_tokens, width, generator=generator),
            "weight": torch.randn(setting["out"], width, generator=generator) / width**0.5,
        }
        return found | ({"bias": torch.randn(setting["out"], generator=generator)} if setting["bias"] else {})

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """[num_tokens, out]."""
        del lengths, setting
        mapped: Tensor = kernel(tensors["weight"], tensors.get("bias"))(tensors["x"])
        return mapped


class NormalizeCases(KernelCases):
    """``kernel(x)``, of vectors in rows or in blocks."""

    def settings(self) -> Sequence[Setting]:
        """[rows, dim] and [rows, 1, dim]."""
        return [{"blocks": False}, {"blocks": True}]

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """[num_tokens, width]."""
        del lengths
        x = tensors["x"]
        normed: Tensor = kernel(x.unsqueeze(1)).squeeze(1) if setting["blocks"] else kernel(x)
        return normed


class SegmentPoolCases(KernelCases):
    """``kernel(x, lengths, how)`` and ``kernel(x, lengths, how, weights)``."""

    packed = ("x", "weights")

    def settings(self) -> Sequence[Setting]:
        """Every way to reduce, with weights where there can be some."""
        weighted = [{"how": how, "weighted": weighted} for how in ("sum", "mean") for weighted in (False, True)]
        return [*weighted, {"how": "max", "weighted": False}]

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], and positive weights [num_tokens]."""
        found = {"x": torch.randn(num_tokens, width, generator=generator)}
        if setting["weighted"]:
            found["weights"] = 0.5 + torch.rand(num_tokens, generator=generator)
        return found

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """[num_seqs, width]."""
        weights = (tensors["weights"],) if setting["weighted"] else ()
        pooled: Tensor = kernel(tensors["x"], tuple(lengths), setting["how"], *weights)
        return pooled

    def parts(self, result: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
        """A row each."""
        del lengths
        return result.unbind(0)


class SpladeCases(KernelCases):
    """``kernel(x, lengths, head, how, log_again=...)``."""

    sizes = (1e-6, 1e4)
    widths = (1, 7, 16, 33, 64)

    def settings(self) -> Sequence[Setting]:
        """Both ways to reduce, with one logarithm and with two."""
        return [{"how": how, "log_again": log_again} for how in ("max", "sum") for log_again in (False, True)]

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], and the weight of the head [vocabulary, width]."""
        del setting
        weight = torch.randn(50, width, generator=generator) / width**0.5
        return {"x": torch.randn(num_tokens, width, generator=generator), "weight": weight}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """[num_seqs, vocabulary]."""
        weight = tensors["weight"].float()

        def head(rows: Tensor) -> Tensor:  # a row's bits must depend neither on the others nor on where it lies
            return torch.stack([torch.mv(weight, row.clone()) for row in rows])

        pooled: Tensor = kernel(tensors["x"], tuple(lengths), head, setting["how"], log_again=setting["log_again"])
        return pooled

    def parts(self, result: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
        """A row each."""
        del lengths
        return result.unbind(0)


class MaxsimCases(KernelCases):
    """``kernel(queries, documents, query_lengths, document_lengths)`` and the same with pairs; documents are packed."""

    packed = ("documents",)
    spoils = ("documents",)
    enlarged = ("documents",)
    widths = (7, 16, 33, 64, 96, 128)

    def settings(self) -> Sequence[Setting]:
        """One query and several; with every document, and by a list of pairs."""
        return [{"queries": queries, "listed": listed} for queries in ((32, 5, 1), (6,)) for listed in (False, True)]

    def tensors(self, num_tokens: int, width: int, setting: Setting, generator: Generator) -> Tensors:
        """Tokens of length 1, as ColBERT has them: queries and documents [rows, width]."""
        rows = {"queries": sum(setting["queries"]), "documents": num_tokens}
        drawn = {name: torch.randn(count, width, generator=generator) for name, count in rows.items()}
        return {name: x / x.norm(dim=1, keepdim=True) for name, x in drawn.items()}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: Setting) -> Tensor:
        """[num_queries, num_documents]; of a list of pairs, each pair has its place."""
        arguments = (tensors["queries"], tensors["documents"], setting["queries"], tuple(lengths))
        scores: Tensor
        if not setting["listed"]:
            scores = kernel(*arguments)
            return scores
        pairs = [(query, document) for document in range(len(lengths)) for query in range(len(setting["queries"]))]
        pairs = pairs[::2] + pairs[1::2]  # neither in the order of queries nor of documents
        scores = kernel(*arguments, pairs)
        matrix = scores.new_empty(len(setting["queries"]), len(lengths))
        matrix[tuple(torch.tensor(pairs).T)] = scores
        return matrix

    def parts(self, result: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
        """A document's scores."""
        del lengths
        return result.unbind(1)


CASES: Mapping[str, KernelCases] = MappingProxyType(
    {
        "attention": AttentionCases(),
        "gated": GatedCases(),
        "gelu": GeluCases(),
        "layer_norm_residual": LayerNormResidualCases(),
        "linear": LinearCases(),
        "maxsim": MaxsimCases(),
        "normalize": NormalizeCases(),
        "rms_norm": RmsNormCases(),
        "rotary": RotaryCases(),
        "segment_pool": SegmentPoolCases(),
        "splade": SpladeCases(),
    }
)
