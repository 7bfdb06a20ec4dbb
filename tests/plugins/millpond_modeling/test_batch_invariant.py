"""Batch-invariant activations match their formulas and return the same bits at every position."""

import pytest
import torch
from torch.nn import functional

from millpond_modeling import batch_invariant

EXACT = {
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "mish": functional.mish,
}


@pytest.mark.parametrize("name", EXACT)
def test_activations_match_their_formulas_for_small_and_large_numbers(name):
    x = torch.cat([torch.linspace(-30, 30, 6001), torch.tensor([-1e4, -88.0, 0.0, 88.0, 1e4])])
    result = getattr(batch_invariant, name)(x)
    torch.testing.assert_close(result.double(), EXACT[name](x.double()), atol=1e-6, rtol=2e-6)
    assert getattr(batch_invariant, name)(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", EXACT)
def test_a_value_has_the_same_result_at_every_position(name):
    x = torch.randn(1003) * 4
    whole = getattr(batch_invariant, name)(x)
    for start, stop in ((0, 1), (1, 18), (7, 1003), (995, 1003)):
        assert torch.equal(getattr(batch_invariant, name)(x[start:stop].clone()), whole[start:stop])
