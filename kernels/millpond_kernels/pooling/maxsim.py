"""The op ``maxsim``: late-interaction scores (ColBERT; Khattab and Zaharia, 2020, arXiv 2004.12832).

The score of a query and a document is the sum, over the query's tokens, of the maximum dot product of that token with a
token of the document. All variants have the same arguments and results; see ``maxsim_torch``.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from millpond_kernels.pooling.segment_pool import offsets_of, segment_max

Pairs = Sequence[tuple[int, int]]
QUERY_ROWS = 512  # maximum number of tokens in a block of queries, unless one query has more
DOCUMENT_ROWS = 4096  # maximum number of tokens in a block of documents, unless one document has more


def maxsim_torch(
    queries: Tensor,
    documents: Tensor,
    query_lengths: Sequence[int],
    document_lengths: Sequence[int],
    pairs: Pairs | None = None,
) -> Tensor:
    """Return the scores of queries and documents in plain torch, one pair at a time: the reference for other variants.

    Args:
        queries: The token embeddings of all queries, concatenated, [num_query_tokens, dim].
        documents: The token embeddings of all documents, concatenated, [num_document_tokens, dim].
        query_lengths: The number of tokens of each query, at least 1, on the host.
        document_lengths: The number of tokens of each document, at least 1, on the host.
        pairs: The indices (query, document) of each requested score; None for each query with each document.

    Returns:
        float32: [num_pairs] in the order of the pairs, or without them [num_queries, num_documents].

    Raises:
        ValueError: If the lengths do not match the tensors, or an index of a pair is out of range.
    """
    check(queries, documents, query_lengths, document_lengths, pairs)
    each_query, each_document = queries.split(list(query_lengths)), documents.split(list(document_lengths))
    requested = every_pair(len(each_query), len(each_document)) if pairs is None else pairs
    scores = torch.empty(len(requested), dtype=torch.float32, device=queries.device)
    for index, (query, document) in enumerate(requested):
        products = each_query[query].float() @ each_document[document].float().T
        scores[index] = products.amax(dim=1).sum()
    return scores if pairs is not None else scores.view(len(each_query), len(each_document))


def maxsim_batched(
    queries: Tensor,
    documents: Tensor,
    query_lengths: Sequence[int],
    document_lengths: Sequence[int],
    pairs: Pairs | None = None,
) -> Tensor:
    """Like ``maxsim_torch``, with one matrix product per block of queries and documents, segmented maxima, and sums.

    In addition to the scores, the dot products and the maxima of one block are in memory: at most
    2 * max(512, longest query) * max(4096, longest document) values of 4 bytes. For documents in 16 bits, and with
    ``pairs``, a copy of the block's documents is also in memory: at most max(4096, longest document) * dim such values.
    """
    query_offsets, document_offsets = check(queries, documents, query_lengths, document_lengths, pairs)
    if pairs is None:
        scores = torch.empty(len(query_lengths), len(document_lengths), dtype=torch.float32, device=queries.device)
        for i, j in _blocks(query_lengths, QUERY_ROWS):
            rows = queries[query_offsets[i] : query_offsets[j]]
            for k, m in _blocks(document_lengths, DOCUMENT_ROWS):
                block = documents[document_offsets[k] : document_offsets[m]]
                scores[i:j, k:m] = _score_block(rows, query_lengths[i:j], block, document_lengths[k:m])
        return scores
    return _score_pairs(queries.split(list(query_lengths)), documents.split(list(document_lengths)), pairs)


def maxsim_triton(
    queries: Tensor,
    documents: Tensor,
    query_lengths: Sequence[int],
    document_lengths: Sequence[int],
    pairs: Pairs | None = None,
) -> Tensor:
    """Like ``maxsim_torch``, with one kernel that does not write dot products to memory."""
    from millpond_kernels.gpu.maxsim import maxsim  # noqa: PLC0415  needs Triton

    query_offsets, document_offsets = check(queries, documents, query_lengths, document_lengths, pairs)
    return maxsim(queries, documents, query_offsets, document_offsets, pairs)


def check(
    queries: Tensor,
    documents: Tensor,
    query_lengths: Sequence[int],
    document_lengths: Sequence[int],
    pairs: Pairs | None,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the offsets of queries and of documents, after checking that kernels only read within the tensors.

    Raises:
        ValueError: If the lengths do not match the tensors, or an index of a pair is out of range.
    """
    offsets = offsets_of(query_lengths, queries, "queries"), offsets_of(document_lengths, documents, "documents")
    num_queries, num_documents = len(query_lengths), len(document_lengths)
    for pair in () if pairs is None else pairs:
        if not (0 <= pair[0] < num_queries and 0 <= pair[1] < num_documents):
            message = (
                f"maxsim: the pair {tuple(pair)} (query, document), counted from 0, is out of range for "
                f"{num_queries} queries and {num_documents} documents"
            )
            raise ValueError(message)
    return offsets


def every_pair(num_queries: int, num_documents: int) -> list[tuple[int, int]]:
    """Return all pairs (query, document), sorted by query."""
    return [(query, document) for query in range(num_queries) for document in range(num_documents)]


def _score_pairs(queries: Sequence[Tensor], documents: Sequence[Tensor], pairs: Pairs) -> Tensor:
    """Return the scores of a list of pairs, computed per query: [num_pairs]."""
    scores = torch.empty(len(pairs), dtype=torch.float32, device=queries[0].device)
    for query, indices in _indices_by_query(pairs).items():
        candidates = [documents[pairs[index][1]] for index in indices]
        lengths = [len(document) for document in candidates]
        for k, m in _blocks(lengths, DOCUMENT_ROWS):
            block = candidates[k] if m == k + 1 else torch.cat(candidates[k:m])
            (block_scores,) = _score_block(queries[query], (len(queries[query]),), block, lengths[k:m])
            if m == k + 1:  # indexing with a list takes longer than the product of a short pair
                scores[indices[k]] = block_scores[0]
            else:
                scores[indices[k:m]] = block_scores
    return scores


def _score_block(
    query_rows: Tensor, query_lengths: Sequence[int], document_rows: Tensor, document_lengths: Sequence[int]
) -> Tensor:
    """Return the scores of a block of queries and a block of documents: [num_queries, num_documents]."""
    products = document_rows.float() @ query_rows.float().T  # [num_document_tokens, num_query_tokens]
    maxima = segment_max(products, document_lengths)
    if len(query_lengths) == 1:
        return maxima.sum(dim=1).unsqueeze(0)
    return torch.stack([part.sum(dim=1) for part in maxima.split(list(query_lengths), dim=1)])


def _indices_by_query(pairs: Pairs) -> dict[int, list[int]]:
    """Return the indices of each query's pairs."""
    indices: dict[int, list[int]] = defaultdict(list)
    for index, (query, _) in enumerate(pairs):
        indices[query].append(index)
    return indices


def _blocks(lengths: Sequence[int], max_rows: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of consecutive items with at most ``max_rows`` rows, or of a single item with more."""
    bounds, rows = [0], 0
    for index, length in enumerate(lengths):
        if index > bounds[-1] and rows + length > max_rows:
            bounds.append(index)
            rows = 0
        rows += length
    yield from pairwise([*bounds, len(lengths)])
