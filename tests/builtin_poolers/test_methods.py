"""Pooling methods compared with numpy, for different lengths, dtypes and parameters."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millpond import PoolingParams
from millpond.nn import PoolingMetadata
from millpond_poolers import methods


def weighted_mean(rows):
    weights = np.arange(1, len(rows) + 1)[:, None]
    return (rows * weights).sum(0) / weights.sum()


EXPECTED = {
    "CLS": lambda rows: rows[0],
    "LAST": lambda rows: rows[-1],
    "MEAN": lambda rows: rows.mean(0),
    "MAX": lambda rows: rows.max(0),
    "MEAN_SQRT_LEN": lambda rows: rows.sum(0) / np.sqrt(len(rows)),
    "WEIGHTED_MEAN": weighted_mean,
}
CLASSES = {
    "CLS": methods.FirstTokenPooling,
    "LAST": methods.LastTokenPooling,
    "MEAN": methods.MeanPooling,
    "MAX": methods.MaxPooling,
    "MEAN_SQRT_LEN": methods.MeanSqrtLenPooling,
    "WEIGHTED_MEAN": methods.WeightedMeanPooling,
}
LENGTHS = (1, 5, 5, 2, 17, 1, 100)


def states(lengths, width=6, seed=0):
    return torch.randn(sum(lengths), width, generator=torch.Generator().manual_seed(seed))


def expected(name, hidden, lengths):
    parts = np.split(hidden.double().numpy(), np.cumsum(lengths)[:-1])
    return np.stack([EXPECTED[name](rows) for rows in parts])


def test_these_are_all_pooling_types(registry):
    of_sparse = {"SPLADE_MAX", "SPLADE_MAX_LOG", "SPLADE_SUM", "SPLADE_SUM_LOG"}
    assert set(registry.poolers.names()) == {*EXPECTED, "ALL", "STEP", *of_sparse}
    assert {name: registry.poolers.get(name).load() for name in EXPECTED} == CLASSES


@pytest.mark.parametrize("name", EXPECTED)
def test_method_equals_numpy(build, metadata, name):
    hidden = states(LENGTHS)
    before = hidden.clone()
    pooled = build(name)(hidden, metadata(*LENGTHS))
    assert pooled.shape == (len(LENGTHS), 6)
    assert pooled.dtype == torch.float32
    assert np.abs(pooled.numpy() - expected(name, hidden, LENGTHS)).max() <= 1e-6
    assert torch.equal(hidden, before)


@pytest.mark.parametrize("name", EXPECTED)
def test_states_of_one_sign_and_a_single_token(build, metadata, name):
    """Detects a maximum that starts from 0, and sums that include rows of neighbouring sequences."""
    hidden = -1 - states((3, 1, 4)).abs()
    pooled = build(name)(hidden, metadata(3, 1, 4)).numpy()
    assert np.abs(pooled - expected(name, hidden, (3, 1, 4))).max() <= 1e-6
    assert np.abs(pooled[1] - hidden[3].numpy()).max() <= 1e-6  # for one token, every method returns that token


@pytest.mark.parametrize("name", EXPECTED)
def test_sixteen_bit_states_are_summed_in_float32(build, metadata, name):
    length = 3000
    hidden = (states((length,), width=3) + 1).to(torch.bfloat16)
    pooled = build(name)(hidden, metadata(length))
    assert pooled.dtype == torch.float32
    relative = np.abs(pooled.numpy() / expected(name, hidden, (length,)) - 1)
    assert relative.max() <= 1e-5


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_sequence_is_pooled_as_if_it_were_alone(build, name, lengths, seed):
    pooler = build(name)
    hidden = states(lengths, seed=seed)
    offsets = np.cumsum([0, *lengths])

    def pool(rows, *counts):
        return pooler.pool(rows, PoolingMetadata(lengths=counts, input_ids=torch.zeros(len(rows))))

    together = pool(hidden, *lengths)
    for index, length in enumerate(lengths):
        alone = pool(hidden[offsets[index] : offsets[index + 1]], length)
        assert torch.allclose(together[index], alone[0], atol=1e-6)


def test_all_returns_every_row_of_each_sequence(build, metadata):
    hidden = states(LENGTHS)
    pooled = build("ALL", task="token_embed")(hidden, metadata(*LENGTHS))
    assert [len(rows) for rows in pooled] == list(LENGTHS)
    assert torch.equal(torch.cat(pooled), hidden)


def test_all_returns_float32_for_every_dtype_of_the_model(build, metadata):
    pooled = build("ALL", task="token_embed")(states((2, 3)).half(), metadata(2, 3))
    assert {rows.dtype for rows in pooled} == {torch.float32}


# --- head and activation --------------------------------------------------------------------------------------------


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


MIXED = (
    PoolingParams(use_activation=False),
    PoolingParams(use_activation=True),
    PoolingParams(use_activation=True, dimensions=2),
    PoolingParams(use_activation=False, dimensions=3),
    PoolingParams(use_activation=True),
    PoolingParams(use_activation=True, dimensions=6),
    PoolingParams(use_activation=True, dimensions=2),
)


def finished(rows, params):
    rows = rows[..., : params.dimensions]
    return unit(rows) if params.use_activation else rows


def test_each_sequence_has_its_own_parameters(build, metadata):
    hidden = states(LENGTHS)
    pooled = build("MEAN")(hidden, metadata(*LENGTHS, params=MIXED))
    for row, mean, params in zip(pooled, expected("MEAN", hidden, LENGTHS), MIXED, strict=True):
        assert row.shape == (params.dimensions or 6,)
        assert np.abs(row.numpy() - finished(mean, params)).max() <= 1e-6


def test_each_sequence_has_its_own_parameters_a_token(build, metadata):
    hidden = states(LENGTHS)
    pooled = build("ALL", task="token_embed")(hidden, metadata(*LENGTHS, params=MIXED))
    parts = np.split(hidden.numpy(), np.cumsum(LENGTHS)[:-1])
    for output, rows, params in zip(pooled, parts, MIXED, strict=True):
        assert output.shape == (len(rows), params.dimensions or 6)
        assert np.abs(output.numpy() - finished(rows, params)).max() <= 1e-6


def test_dimensions_are_cut_before_normalizing(build, metadata):
    hidden = states((4,))
    params = [PoolingParams(use_activation=True, dimensions=2)]
    (row,) = build("MEAN")(hidden, metadata(4, params=params))
    assert float(row.norm()) == pytest.approx(1, abs=1e-6)


def test_the_projector_comes_before_dimensions_and_activation(build, metadata):
    dense = torch.nn.Linear(6, 4).requires_grad_(False)
    hidden = states((4, 2))
    params = [PoolingParams(use_activation=True, dimensions=3)] * 2
    for task, name, rows in (
        ("embed", "MEAN", expected("MEAN", hidden, (4, 2))),
        ("token_embed", "ALL", hidden.numpy()),
    ):
        pooled = build(name, task=task, dense=dense)(hidden, metadata(4, 2, params=params))
        outputs = torch.cat([rows.reshape(-1, 3) for rows in pooled]).numpy()
        projected = rows @ dense.weight.numpy().T + dense.bias.numpy()
        assert np.abs(outputs - unit(projected[:, :3])).max() <= 1e-6


def test_a_head_replaces_the_projector(build, metadata):
    head, dense = torch.nn.Linear(6, 2).requires_grad_(False), torch.nn.Linear(6, 4)
    pooled = build("CLS", dense=dense, head=head, activation="softmax")(
        states((3,)), metadata(3, params=[PoolingParams()])
    )
    assert pooled.shape == (1, 2)
    assert float(pooled.sum()) == pytest.approx(1)


def test_a_vector_of_zeros_is_normalized_to_zeros(build, metadata):
    pooled = build("MEAN")(torch.zeros(3, 6), metadata(3, params=[PoolingParams()]))
    assert torch.equal(pooled, torch.zeros(1, 6))
