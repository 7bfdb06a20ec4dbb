"""The op ``maxsim`` in Triton: each program computes the score of one query and one document."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from millpond.nn import to_device
from millpond_kernels.gpu.maximum import maximum

QUERY_ROWS = 32
DOCUMENT_ROWS = 64
DIMS = 64


def maxsim(
    queries: Tensor,
    documents: Tensor,
    query_offsets: Sequence[int],
    document_offsets: Sequence[int],
    pairs: Sequence[tuple[int, int]] | None,
) -> Tensor:
    """Return the scores of ``maxsim_torch``. The offsets are those of ``maxsim.check``.

    In addition to the scores, the offsets (8 bytes each) and the pairs (16 bytes each) are on the device. Queries and
    documents of different dtypes are copied in float32.
    """
    if queries.dtype != documents.dtype:  # Triton multiplies values of one dtype
        queries, documents = queries.float(), documents.float()
    num_queries, num_documents = len(query_offsets) - 1, len(document_offsets) - 1
    shape = (num_queries, num_documents) if pairs is None else (len(pairs),)
    scores = torch.empty(shape, dtype=torch.float32, device=queries.device)
    if not scores.numel():
        return scores
    indices = [[(0, 0)] if pairs is None else pairs, query_offsets, document_offsets]
    with torch.cuda.device_of(queries):
        _maxsim[scores.numel(),](
            queries,
            documents,
            *(to_device(torch.tensor(values), queries.device) for values in indices),
            scores,
            num_documents,
            queries.shape[1],
            *queries.stride(),
            *documents.stride(),
            LISTED=pairs is not None,
            QUERY_ROWS=QUERY_ROWS,
            DOCUMENT_ROWS=DOCUMENT_ROWS,
            DIMS=DIMS,
        )
    return scores


@triton.jit
def _maxsim(
    queries: tl.tensor,
    documents: tl.tensor,
    pairs: tl.tensor,
    query_offsets: tl.tensor,
    document_offsets: tl.tensor,
    scores: tl.tensor,
    num_documents: tl.tensor,
    dim: tl.tensor,
    query_stride: tl.tensor,
    query_dim_stride: tl.tensor,
    document_stride: tl.tensor,
    document_dim_stride: tl.tensor,
    LISTED: tl.constexpr,  # noqa: N803  the convention of Triton
    QUERY_ROWS: tl.constexpr,  # noqa: N803
    DOCUMENT_ROWS: tl.constexpr,  # noqa: N803
    DIMS: tl.constexpr,  # noqa: N803
) -> None:
    index = tl.program_id(0)
    if LISTED:
        query = tl.load(pairs + 2 * index)
        document = tl.load(pairs + 2 * index + 1)
    else:
        query = index // num_documents
        document = index % num_documents
    query_stop = tl.load(query_offsets + query + 1)
    document_start = tl.load(document_offsets + document)
    document_stop = tl.load(document_offsets + document + 1)
    score = 0.0
    for first_row in range(tl.load(query_offsets + query), query_stop, QUERY_ROWS):
        rows = first_row + tl.arange(0, QUERY_ROWS)
        maxima = tl.full((QUERY_ROWS,), float("-inf"), tl.float32)
        for first_token in range(document_start, document_stop, DOCUMENT_ROWS):
            tokens = first_token + tl.arange(0, DOCUMENT_ROWS)
            products = tl.zeros((QUERY_ROWS, DOCUMENT_ROWS), tl.float32)
            for first_dim in range(0, dim, DIMS):
                dims = (first_dim + tl.arange(0, DIMS)).to(tl.int64)  # the stride of a transposed tensor is large
                of_query = tl.load(
                    queries + rows[:, None] * query_stride + dims[None, :] * query_dim_stride,
                    mask=(rows < query_stop)[:, None] & (dims < dim)[None, :],
                    other=0.0,
                )
                of_document = tl.load(
                    documents + tokens[None, :] * document_stride + dims[:, None] * document_dim_stride,
                    mask=(tokens < document_stop)[None, :] & (dims < dim)[:, None],
                    other=0.0,
                )
                products = tl.dot(of_query, of_document, products, input_precision="ieee")
            products = tl.where((tokens < document_stop)[None, :], products, float("-inf"))
            maxima = maximum(maxima, tl.reduce(products, 1, maximum))
        score += tl.sum(tl.where(rows < query_stop, maxima, 0.0), axis=0)
    tl.store(scores + index, score)
