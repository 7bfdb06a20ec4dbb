"""Steady activations: their formulas, and the same bits wherever a value lies."""

import pytest
import torch
from torch.nn import functional

from millpond.nn import steady

EXACT = {
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "mish": functional.mish,
}


@pytest.mark.parametrize("name", EXACT)
def test_they_are_their_formulas_for_all_sizes_of_numbers(name):
    x = torch.cat([torch.linspace(-30, 30, 6001), torch.tensor([-1e4, -88.0, 0.0, 88.0, 1e4])])
    found = getattr(steady, name)(x)
    torch.testing.assert_close(found.double(), EXACT[name](x.double()), atol=1e-6, rtol=2e-6)
    assert getattr(steady, name)(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", EXACT)
def test_a_value_becomes_the_same_bits_wherever_it_lies(name):
    x = torch.randn(1003) * 4
    whole = getattr(steady, name)(x)
    for start, stop in ((0, 1), (1, 18), (7, 1003), (995, 1003)):
        assert torch.equal(getattr(steady, name)(x[start:stop].clone()), whole[start:stop])
