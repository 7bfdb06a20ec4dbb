"""Activations against plain numpy, on one vector, on rows of vectors, and at the ends of the scale."""

import math

import numpy as np
import pytest
import torch

ERF = np.vectorize(math.erf)
EXPECTED = {
    "identity": lambda x: x,
    "normalize": lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * 0.5 * (1 + ERF(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def test_these_are_all_activations(registry):
    assert set(registry.activations.names()) == set(EXPECTED)


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7), (5, 1)])
@pytest.mark.parametrize("name", EXPECTED)
def test_activation_equals_numpy(registry, name, shape):
    x = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    found = registry.activations.get(name).load()(x)
    assert found.shape == x.shape
    assert np.abs(found.numpy() - EXPECTED[name](x.double().numpy())).max() <= 1e-6
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", EXPECTED)
def test_activation_is_finite_at_the_ends_of_the_scale(registry, name):
    for value in (0.0, 1e-30, -1e30, 1e18):
        found = registry.activations.get(name).load()(torch.full((2, 3), value))
        assert torch.isfinite(found).all(), value


def test_normalize_keeps_zeros_and_the_direction_of_tiny_vectors(registry):
    normalize = registry.activations.get("normalize").load()
    assert torch.equal(normalize(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert float(normalize(torch.tensor([3e-6, 4e-6])).norm()) == pytest.approx(1, abs=1e-5)
