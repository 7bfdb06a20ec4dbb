"""MaxSim: the similarity of two sets of vectors, those of the tokens of a query and of a document."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from millpond.context import TaskContext
from millpond_io.scoring.similarities import Array, Pairs

NO_VECTORS = -1e9  # the score of a document without, as sentence-transformers has it
DOCUMENT_TOKENS_AT_ONCE = 32_768  # whose vectors are copied end to end for MaxSim


class MaxSim:
    """The sum, over the tokens of a query, of the largest product with a token of the document, by the op ``maxsim``.

    Where the model compares by "meanmaxsim", it is divided by the number of the query's tokens. A document may have no
    vectors, where its files leave out all of its tokens: it goes behind all others. So may a query, whose sum is 0.
    """

    def __init__(self, ctx: TaskContext) -> None:
        self.mean = ctx.model.retrieval.late_similarity == "meanmaxsim"
        head_ctx = ctx.for_head()
        self.op: Callable[..., torch.Tensor] = head_ctx.op("maxsim")
        self.device = ctx.device

    def __call__(self, pairs: Pairs) -> Iterator[float]:
        """The score of each pair of sets of vectors, [num_tokens, dim] each.

        Documents are copied in blocks of a bounded size, whatever their number.
        """
        scores = self._scores([(query, document) for query, document in pairs if len(query) and len(document)])
        for query, document in pairs:
            if not len(document):
                yield NO_VECTORS
            else:
                yield next(scores) if len(query) else 0.0

    def _scores(self, pairs: Pairs) -> Iterator[float]:
        """The scores of pairs that have vectors both."""
        for block in _blocks(pairs):
            queries = list({id(query): query for query, _ in block}.values())
            numbers = {id(query): number for number, query in enumerate(queries)}
            scores = self.op(
                self._end_to_end(queries),
                self._end_to_end([document for _, document in block]),
                [len(query) for query in queries],
                [len(document) for _, document in block],
                None if len(queries) == 1 else [(numbers[id(query)], place) for place, (query, _) in enumerate(block)],
            )
            found = scores.flatten().tolist()
            if self.mean:
                found = [score / len(query) for score, (query, _) in zip(found, block, strict=True)]
            yield from found

    def _end_to_end(self, arrays: Sequence[Array]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(self.device)


def _blocks(pairs: Pairs) -> Iterator[Pairs]:
    """Neighbouring pairs whose documents have so many tokens together, or one pair whose document has more."""
    start = tokens = 0
    for place, (query, document) in enumerate(pairs):
        added = len(query) + len(document)
        if place > start and tokens + added > DOCUMENT_TOKENS_AT_ONCE:
            yield pairs[start:place]
            start, tokens = place, 0
        tokens += added
    if start < len(pairs):
        yield pairs[start:]
