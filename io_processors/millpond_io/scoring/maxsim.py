"""MaxSim: the similarity of the token vectors of a query and a document."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from millpond.context import TaskContext
from millpond_io.scoring.similarities import Array, Pairs

EMPTY_DOCUMENT_SCORE = -1e9  # as in sentence-transformers
MAX_TOKENS_PER_BLOCK = 32_768  # bounds the memory for the copies of vectors


class MaxSim:
    """Computes the sum, over the tokens of a query, of the largest dot product with a token of the document.

    For "meanmaxsim", the sum is divided by the number of query tokens. If all tokens of a document are skipped, its
    score is the lowest; if all tokens of a query are skipped, its score is 0. The op ``maxsim`` computes the products.
    """

    def __init__(self, ctx: TaskContext) -> None:
        self.mean = ctx.model.retrieval.late_similarity == "meanmaxsim"
        head_ctx = ctx.for_head()
        self.op: Callable[..., torch.Tensor] = head_ctx.op("maxsim")
        self.device = ctx.device

    def __call__(self, pairs: Pairs) -> Iterator[float]:
        """Yield the score of each pair of token vectors, [num_tokens, dim] each.

        Vectors are copied in blocks of a bounded size.
        """
        scores = self._scores([(query, document) for query, document in pairs if len(query) and len(document)])
        for query, document in pairs:
            if not len(document):
                yield EMPTY_DOCUMENT_SCORE
            else:
                yield next(scores) if len(query) else 0.0

    def _scores(self, pairs: Pairs) -> Iterator[float]:
        """Yield the scores of pairs without empty queries and documents."""
        for block in _blocks(pairs):
            queries = list({id(query): query for query, _ in block}.values())
            numbers = {id(query): number for number, query in enumerate(queries)}
            output = self.op(
                self._concatenated(queries),
                self._concatenated([document for _, document in block]),
                [len(query) for query in queries],
                [len(document) for _, document in block],
                None if len(queries) == 1 else [(numbers[id(query)], index) for index, (query, _) in enumerate(block)],
            )
            scores = output.flatten().tolist()
            if self.mean:
                scores = [score / len(query) for score, (query, _) in zip(scores, block, strict=True)]
            yield from scores

    def _concatenated(self, arrays: Sequence[Array]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(self.device)


def _blocks(pairs: Pairs) -> Iterator[Pairs]:
    """Yield consecutive pairs with at most ``MAX_TOKENS_PER_BLOCK`` tokens in total, or one longer pair."""
    start = num_tokens = 0
    for index, (query, document) in enumerate(pairs):
        pair_tokens = len(query) + len(document)
        if index > start and num_tokens + pair_tokens > MAX_TOKENS_PER_BLOCK:
            yield pairs[start:index]
            start, num_tokens = index, 0
        num_tokens += pair_tokens
    if start < len(pairs):
        yield pairs[start:]
