"""The op ``maxsim``: scores of late interaction, as of ColBERT (Khattab and Zaharia 2020, arXiv 2004.12832).

The score of a query and a document is the sum, over the query's tokens, of the largest dot product of that token with a
token of the document. All variants take and give the same; see ``maxsim_torch``.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from millpond_kernels.pooling.segments import offsets_of, segment_max

Pairs = Sequence[tuple[int, int]]
QUERY_ROWS = 512  # a block of queries has so many tokens at most, or is one query
DOCUMENT_ROWS = 4096  # likewise of documents


def maxsim_torch(
    queries: Tensor,
    documents: Tensor,
    query_lengths: Sequence[int],
    document_lengths: Sequence[int],
    pairs: Pairs | None = None,
) -> Tensor:
    """Scores of queries and documents in plain torch, one pair at a time: the yardstick of the other variants.

    Args:
        queries: The token embeddings of all queries end to end, [num_query_tokens, dim].
        documents: Those of all documents, [num_document_tokens, dim].
        query_lengths: The tokens of each query, at least one, on the host.
        document_lengths: The tokens of each document, likewise.
        pairs: (query, document) by their numbers, for each score that is wanted; None for each query with each
            document.

    Returns:
        float32: [num_pairs] in the order of the pairs, or without them [num_queries, num_documents].

    Raises:
        ValueError: If the lengths are not those of the tensors, or a pair names what is not there.
    """
    check(queries, documents, query_lengths, document_lengths, pairs)
    each_query, each_document = queries.split(list(query_lengths)), documents.split(list(document_lengths))
    asked = every_pair(len(each_query), len(each_document)) if pairs is None else pairs
    scores = torch.empty(len(asked), dtype=torch.float32, device=queries.device)
    for place, (query, document) in enumerate(asked):
        products = each_query[query].float() @ each_document[document].float().T
        scores[place] = products.amax(dim=1).sum()
    return scores if pairs is not None else scores.view(len(each_query), len(each_document))


def maxsim_batched(
    queries: Tensor,
    documents: Tensor,
    query_lengths: Sequence[int],
    document_lengths: Sequence[int],
    pairs: Pairs | None = None,
) -> Tensor:
    """The same by one matrix product for a block of queries and documents, then segmented maxima, then sums.

    Besides the scores it holds, at a time, the dot products of one block and the largest of them: twice at most
    max(512, longest query) * max(4096, longest document) numbers of 4 bytes. Where documents are of 16 bits, or are
    listed, the block's are copied besides: at most max(4096, longest document) * dim such numbers. See ``maxsim_torch``
    for the arguments.
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
    return _score_listed(queries.split(list(query_lengths)), documents.split(list(document_lengths)), pairs)


def maxsim_triton(
    queries: Tensor,
    documents: Tensor,
    query_lengths: Sequence[int],
    document_lengths: Sequence[int],
    pairs: Pairs | None = None,
) -> Tensor:
    """The same in one kernel that never writes a dot product to memory; see ``maxsim_torch`` for the arguments."""
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
    """Where each query and each document starts, and the last ends, once it is sure that no kernel reads elsewhere.

    Raises:
        ValueError: If the lengths are not those of the tensors, or a pair names what is not there.
    """
    offsets = offsets_of(query_lengths, queries, "queries"), offsets_of(document_lengths, documents, "documents")
    num_queries, num_documents = len(query_lengths), len(document_lengths)
    for pair in () if pairs is None else pairs:
        if not (0 <= pair[0] < num_queries and 0 <= pair[1] < num_documents):
            message = (
                f"maxsim was asked for the pair {tuple(pair)} (query, document), counted from 0; "
                f"there are {num_queries} queries and {num_documents} documents"
            )
            raise ValueError(message)
    return offsets


def every_pair(num_queries: int, num_documents: int) -> list[tuple[int, int]]:
    """Each query with each document, queries in the outer order."""
    return [(query, document) for query in range(num_queries) for document in range(num_documents)]


def _score_listed(queries: Sequence[Tensor], documents: Sequence[Tensor], pairs: Pairs) -> Tensor:
    """The scores of a list of pairs, each query with all of its documents: [num_pairs]."""
    scores = torch.empty(len(pairs), dtype=torch.float32, device=queries[0].device)
    for query, places in _by_query(pairs).items():
        listed = [documents[pairs[place][1]] for place in places]
        lengths = [len(document) for document in listed]
        for k, m in _blocks(lengths, DOCUMENT_ROWS):
            block = listed[k] if m == k + 1 else torch.cat(listed[k:m])
            (found,) = _score_block(queries[query], (len(queries[query]),), block, lengths[k:m])
            if m == k + 1:  # a list of places takes longer than the product of a short pair
                scores[places[k]] = found[0]
            else:
                scores[places[k:m]] = found
    return scores


def _score_block(
    query_rows: Tensor, query_lengths: Sequence[int], document_rows: Tensor, document_lengths: Sequence[int]
) -> Tensor:
    """Each query of a block with each document of a block: [num_queries, num_documents]."""
    products = document_rows.float() @ query_rows.float().T  # [num_document_tokens, num_query_tokens]
    largest = segment_max(products, document_lengths)
    if len(query_lengths) == 1:
        return largest.sum(dim=1).unsqueeze(0)
    return torch.stack([part.sum(dim=1) for part in largest.split(list(query_lengths), dim=1)])


def _by_query(pairs: Pairs) -> dict[int, list[int]]:
    """The places in the list at which each query stands."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, (query, _) in enumerate(pairs):
        places[query].append(place)
    return places


def _blocks(lengths: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Neighbours that have at most so many rows together, or a single one that has more: (first, behind the last)."""
    bounds, rows = [0], 0
    for number, length in enumerate(lengths):
        if number > bounds[-1] and rows + length > most:
            bounds.append(number)
            rows = 0
        rows += length
    yield from pairwise([*bounds, len(lengths)])
