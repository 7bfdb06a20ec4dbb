"""Test cases of the ops after the model."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from millpond.testing.kernel_cases import Kernel, KernelCases, OpOptions, Tensors


class NormalizeCases(KernelCases):
    """``kernel(x)``, for two and three dimensions."""

    def settings(self) -> Sequence[OpOptions]:
        """[rows, dim] and [rows, 1, dim]."""
        return [{"blocks": False}, {"blocks": True}]

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """[num_tokens, width]."""
        del lengths
        x = tensors["x"]
        normed: Tensor = kernel(x.unsqueeze(1)).squeeze(1) if setting["blocks"] else kernel(x)
        return normed


class SegmentPoolCases(KernelCases):
    """``kernel(x, lengths, how)`` and ``kernel(x, lengths, how, weights)``."""

    packed = ("x", "weights")

    def settings(self) -> Sequence[OpOptions]:
        """All reductions, with and without weights where they are supported."""
        weighted = [{"how": how, "weighted": weighted} for how in ("sum", "mean") for weighted in (False, True)]
        return [*weighted, {"how": "max", "weighted": False}]

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], and positive weights [num_tokens]."""
        tensors = {"x": torch.randn(num_tokens, width, generator=generator)}
        if setting["weighted"]:
            tensors["weights"] = 0.5 + torch.rand(num_tokens, generator=generator)
        return tensors

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """[num_seqs, width]."""
        weights = (tensors["weights"],) if setting["weighted"] else ()
        pooled: Tensor = kernel(tensors["x"], tuple(lengths), setting["how"], *weights)
        return pooled

    def parts(self, result: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
        """One row per sequence."""
        del lengths
        return result.unbind(0)


class SpladeCases(KernelCases):
    """``kernel(x, lengths, head, how, log_again=...)``."""

    sizes = (1e-6, 1e4)
    widths = (1, 7, 16, 33, 64)

    def settings(self) -> Sequence[OpOptions]:
        """Both reductions, with one logarithm and with two."""
        return [{"how": how, "log_again": log_again} for how in ("max", "sum") for log_again in (False, True)]

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Rows x [num_tokens, width], and the weight of the head [vocabulary, width]."""
        del setting
        weight = torch.randn(50, width, generator=generator) / width**0.5
        return {"x": torch.randn(num_tokens, width, generator=generator), "weight": weight}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """[num_seqs, vocabulary]."""
        weight = tensors["weight"].float()

        def head(rows: Tensor) -> Tensor:  # the bits of a row must not depend on other rows or its address
            return torch.stack([torch.mv(weight, row.clone()) for row in rows])

        pooled: Tensor = kernel(tensors["x"], tuple(lengths), head, setting["how"], log_again=setting["log_again"])
        return pooled

    def parts(self, result: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
        """One row per sequence."""
        del lengths
        return result.unbind(0)


class MaxsimCases(KernelCases):
    """``kernel(queries, documents, query_lengths, document_lengths)`` and the same with pairs; documents are packed."""

    packed = ("documents",)
    spoils = ("documents",)
    enlarged = ("documents",)
    widths = (7, 16, 33, 64, 96, 128)

    def settings(self) -> Sequence[OpOptions]:
        """One query and several; all pairs, and a list of pairs."""
        return [{"queries": queries, "listed": listed} for queries in ((32, 5, 1), (6,)) for listed in (False, True)]

    def tensors(self, num_tokens: int, width: int, setting: OpOptions, generator: Generator) -> Tensors:
        """Normalized token vectors, as in ColBERT: queries and documents [rows, width]."""
        rows = {"queries": sum(setting["queries"]), "documents": num_tokens}
        drawn = {name: torch.randn(count, width, generator=generator) for name, count in rows.items()}
        return {name: x / x.norm(dim=1, keepdim=True) for name, x in drawn.items()}

    def call(self, kernel: Kernel, tensors: Tensors, lengths: Sequence[int], setting: OpOptions) -> Tensor:
        """[num_queries, num_documents]; the scores of a list of pairs are converted to a matrix."""
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
        """The scores of each document."""
        del lengths
        return result.unbind(1)
