"""The layout of weights for compiled kernels: padding, and memory that is left unchanged."""

import pytest
import torch

from millpond_kernels import native
from millpond_kernels.linear.bf16 import LinearBf16Native
from millpond_kernels.linear.in_torch import padded
from millpond_kernels.linear.int8 import LinearInt8Native
from millpond_kernels.linear.native import LinearNative


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8, torch.int32])
def test_padding_adds_zeros_after_the_values(dtype):
    values = torch.arange(1, 16).view(3, 5).to(dtype)
    whole = padded(values, 4, 2)
    assert (whole.shape, whole.dtype) == ((4, 6), dtype)
    assert torch.equal(whole[:3, :5], values)
    assert int(whole.sum()) == int(values.sum())
    assert torch.equal(padded(values[0], 4), torch.tensor([1, 2, 3, 4, 5, 0, 0, 0], dtype=dtype))


def test_values_that_need_no_padding_are_not_copied():
    values = torch.ones(4, 6)
    assert padded(values, 4, 3) is values


@pytest.mark.skipif(not native.is_available(), reason="needs the compiled kernels")
@pytest.mark.parametrize("kernel", [LinearNative, LinearBf16Native, LinearInt8Native])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_left_unchanged_and_need_not_be_contiguous(kernel, dtype):
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0)).to(dtype)
    x, before = torch.randn(3, 64, generator=torch.Generator().manual_seed(1)), weight.clone()
    transposed = kernel(weight.t(), None)(x)
    assert torch.equal(weight, before)
    assert torch.equal(transposed, kernel(weight.t().contiguous(), None)(x))
