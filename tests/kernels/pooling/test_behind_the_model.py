"""segment_pool, normalize and maxsim against plain numpy, and what they refuse."""

import numpy as np
import pytest
import torch

from millpond_kernels import native
from millpond_kernels.pooling import maxsim
from millpond_kernels.pooling.maxsim import maxsim_batched, maxsim_torch
from millpond_kernels.pooling.normalize import normalize_torch
from millpond_kernels.pooling.segment_pool import offsets_of, segment_pool_native, segment_pool_torch

LENGTHS = (3, 1, 8, 8, 40)
MAXSIMS = [maxsim_torch, maxsim_batched]
compiled = pytest.mark.skipif(not native.is_available(), reason="needs the kernels compiled for this processor")
POOLS = [segment_pool_torch, pytest.param(segment_pool_native, marks=compiled)]


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def by_numpy(x, weights, how):
    if how == "max":
        return x.max(0)
    total = (weights[:, None] * x).sum(0)
    return total if how == "sum" else total / weights.sum()


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("width", [7, 100])
@pytest.mark.parametrize(
    ("how", "weighted"), [("sum", False), ("sum", True), ("mean", False), ("mean", True), ("max", False)]
)
def test_segment_pool_equals_numpy(pool, width, how, weighted):
    x, weights = random(sum(LENGTHS), width), random(sum(LENGTHS), seed=1).abs()
    actual = pool(x, LENGTHS, how, weights if weighted else None)
    stops = np.cumsum(LENGTHS)[:-1]
    parts = zip(np.split(x.double().numpy(), stops), np.split(weights.double().numpy(), stops), strict=True)
    expected = np.stack([by_numpy(rows, w if weighted else np.ones(len(rows)), how) for rows, w in parts])
    assert np.abs(actual.numpy() - expected).max() <= 5e-6
    assert actual.dtype == torch.float32


def test_the_device_that_is_no_cpu_takes_the_op_for_segments():
    """The meta device substitutes for an accelerator: it computes only shapes."""
    actual = segment_pool_torch(torch.empty(60, 7, device="meta"), LENGTHS, "max")
    assert (actual.shape, actual.dtype) == ((5, 7), torch.float32)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("how", ["sum", "mean"])
def test_sixteen_bits_are_summed_in_float32(pool, how):
    x = (random(4000, 3) + 1).bfloat16()
    actual = pool(x, (4000,), how)
    exact = x.double().sum(0) / (4000 if how == "mean" else 1)
    assert actual.dtype == torch.float32
    assert (actual[0] / exact - 1).abs().max() <= 1e-5


@pytest.mark.parametrize("lengths", [(), (3, 0, 57), (30, 29), (30, 31), (-1, 61)])
def test_lengths_that_are_not_those_of_the_tensor_are_refused(lengths):
    x = random(60, 4)
    with pytest.raises(
        ValueError, match=rf"add up to the 60 rows of x; got {len(lengths)} lengths with the sum {sum(lengths)}"
    ):
        segment_pool_torch(x, lengths, "mean")
    with pytest.raises(ValueError, match="60 rows of x"):
        segment_pool_native(x, lengths, "mean")
    with pytest.raises(ValueError, match="60 rows of documents"):
        maxsim_batched(random(2, 4), x, (2,), lengths)
    with pytest.raises(ValueError, match="60 rows of queries"):
        maxsim_torch(x, random(2, 4), lengths, (2,))


def test_offsets_are_one_more_than_the_lengths():
    assert offsets_of(LENGTHS, random(60)) == (0, 3, 4, 12, 20, 60)


@pytest.mark.parametrize("pool", POOLS)
def test_segment_pool_refuses_invalid_arguments(pool):
    with pytest.raises(ValueError, match="not for 'max'"):
        pool(random(60, 4), LENGTHS, "max", random(60))
    with pytest.raises(ValueError, match=r"unknown reduction 'median'\. Available: 'sum', 'mean', 'max'"):
        pool(random(60, 4), LENGTHS, "median")


def test_compiled_segment_pool_reads_no_further_than_its_weights():
    with pytest.raises(ValueError, match="got 59 weights for 60 rows"):
        segment_pool_native(random(60, 4), LENGTHS, "mean", random(59))


# --- normalize ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 5, 7)])
def test_normalize_equals_numpy(shape):
    x = random(*shape)
    expected = x.double().numpy() / np.linalg.norm(x.double().numpy(), axis=-1, keepdims=True)
    assert np.abs(normalize_torch(x).numpy() - expected).max() <= 1e-6


def test_normalize_keeps_zeros_and_the_direction_of_tiny_vectors():
    assert torch.equal(normalize_torch(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert normalize_torch(torch.tensor([3e-6, 4e-6])).tolist() == pytest.approx([0.6, 0.8])


# --- maxsim ---------------------------------------------------------------------------------------------------------


def one_by_one(query, document):
    """The formula of the paper, a product at a time, in double precision."""
    return sum(max(sum(float(a) * float(b) for a, b in zip(q, d, strict=True)) for d in document) for q in query)


@pytest.fixture
def tokens():
    return random(7, 5), random(60, 5, seed=1), (4, 1, 2), LENGTHS


@pytest.fixture
def expected(tokens):
    queries, documents, query_lengths, document_lengths = tokens
    return torch.tensor(
        [
            [one_by_one(query, document) for document in documents.split(list(document_lengths))]
            for query in queries.split(list(query_lengths))
        ]
    )


@pytest.mark.parametrize("variant", MAXSIMS)
def test_maxsim_is_the_formula(variant, tokens, expected):
    assert (variant(*tokens) - expected).abs().max() <= 1e-5
    pairs = [(2, 0), (0, 4), (0, 0), (2, 0), (1, 3)]
    assert (variant(*tokens, pairs) - torch.stack([expected[pair] for pair in pairs])).abs().max() <= 1e-5
    assert variant(*tokens, []).shape == (0,)


@pytest.mark.parametrize("variant", MAXSIMS)
@pytest.mark.parametrize("pair", [(3, 0), (0, 5), (-1, 0), (0, -1)])
def test_maxsim_refuses_pairs_that_are_not_there(variant, tokens, pair):
    with pytest.raises(
        ValueError, match=rf"the pair \({pair[0]}, {pair[1]}\).*out of range for 3 queries and 5 documents"
    ):
        variant(*tokens, [(0, 0), pair])


@pytest.mark.parametrize("rows", [(1, 1), (2, 9), (4, 16), (5, 60), (512, 4096)])
def test_blocks_change_nothing_but_the_memory(monkeypatch, tokens, expected, rows):
    """No block is larger than it may be, unless it is a single document or query."""
    query_rows, document_rows = rows
    monkeypatch.setattr(maxsim, "QUERY_ROWS", query_rows)
    monkeypatch.setattr(maxsim, "DOCUMENT_ROWS", document_rows)
    blocks, segment_max = [], maxsim.segment_max
    monkeypatch.setattr(
        maxsim, "segment_max", lambda x, lengths: blocks.append((x.shape, len(lengths))) or segment_max(x, lengths)
    )
    assert (maxsim_batched(*tokens) - expected).abs().max() <= 1e-5
    listed = [(query, document) for document in (4, 0, 2) for query in (0, 1, 2)]
    actual = maxsim_batched(*tokens, listed)
    assert (actual - torch.stack([expected[pair] for pair in listed])).abs().max() <= 1e-5
    for (documents, queries), count in blocks:
        assert queries <= max(query_rows, 4)
        assert documents <= document_rows or count == 1
    assert sum(documents * queries for (documents, queries), _ in blocks) == 60 * 7 + (40 + 3 + 8) * 7


def test_nan_in_a_query_affects_only_its_scores(tokens):
    queries = tokens[0].clone()
    queries[4] = torch.nan  # the second query
    for variant in MAXSIMS:
        actual = variant(queries, *tokens[1:])
        assert actual[1].isnan().all()
        assert actual[[0, 2]].isfinite().all()
