"""Linear maps in 8-bit integers, against numpy written from the description of the quantization."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond_kernels import native
from millpond_kernels.feed_forward.gated import ACTIVATIONS, gated_native
from millpond_kernels.feed_forward.gelu import gelu_native
from millpond_kernels.feed_forward.native import FeedForwardInt8Native, GatedFeedForwardInt8Native
from millpond_kernels.linear.in_torch import LinearTorch
from millpond_kernels.linear.int8 import LinearInt8Native, LinearInt8Torch
from millpond_kernels.testing.parts import LinearModule

compiled = pytest.mark.skipif(not native.is_available(), reason="needs the kernels compiled for this processor")
KERNELS = [LinearInt8Torch, pytest.param(LinearInt8Native, marks=compiled)]


def steps_of(weight, kernel):
    """The scale of each output: its largest weight is 127, or the largest sum of four that share 16 bits 126."""
    if kernel is LinearInt8Torch or not native.limits_int8_weights():
        return np.abs(weight).max(1) / np.float32(127)
    inputs = weight.shape[1]
    largest = np.zeros(len(weight), np.float32)
    for first in range(0, inputs, 8):
        for places in ((0, 1, 4, 5), (2, 3, 6, 7)):
            group = weight[:, [first + offset for offset in places if first + offset < inputs]]
            for sums in (np.maximum(group, 0).sum(1), np.maximum(-group, 0).sum(1)):
                largest = np.maximum(largest, sums)
    return largest / np.float32(126)


def expected(x, weight, bias, steps):
    """x @ w.T + b with x = s (q - z), q from 0 to 255, and w = s q, in exact integers."""
    quantized = np.rint(weight / np.where(steps > 0, steps, 1)[:, None]).astype(np.int64)
    low, high = np.minimum(x.min(1), 0), np.maximum(x.max(1), 0)
    scales = (high - low) / np.float32(255)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)
    zeros = np.rint(-low * inverse)
    rows = np.clip(np.rint(x * inverse[:, None] + zeros[:, None]), 0, 255).astype(np.int64)
    exact = (rows - zeros.astype(np.int64)[:, None]) @ quantized.T
    return exact * (scales[:, None] * steps) + bias


def draw(rows, inputs, outputs, seed):
    numbers = np.random.default_rng(seed)
    x = numbers.normal(size=(rows, inputs)).astype(np.float32) * numbers.lognormal(size=(rows, 1)).astype(np.float32)
    weight = numbers.normal(size=(outputs, inputs)).astype(np.float32) / np.sqrt(inputs, dtype=np.float32)
    return x, weight, numbers.normal(size=outputs).astype(np.float32)


def step_of(x, weight):
    """Return the size of one quantization step of a row in a result: halves may be rounded up or down."""
    ranges = np.maximum(x.max(1), 0) - np.minimum(x.min(1), 0)
    return ranges.max() / 255 * np.abs(weight).max() * 2


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 130), st.integers(1, 200), st.integers(1, 150), st.integers(0, 1000))
def test_the_integers_are_those_of_the_description(kernel, rows, inputs, outputs, seed):
    x, weight, bias = draw(rows, inputs, outputs, seed)
    actual = kernel(torch.from_numpy(weight), torch.from_numpy(bias))(torch.from_numpy(x)).numpy()
    exact = expected(x, weight, bias, steps_of(weight, kernel))
    np.testing.assert_allclose(actual, exact, atol=2 * step_of(x, weight), rtol=1e-5)


@pytest.mark.skipif(
    not (native.is_available() and native.int8_dot_products()), reason="without VNNI the weights are rounded otherwise"
)
def test_compiled_and_in_torch_are_the_same_but_for_roundings_of_a_half():
    x, weight, bias = map(torch.from_numpy, draw(300, 384, 1152, 7))
    one, other = LinearInt8Native(weight, bias)(x), LinearInt8Torch(weight, bias)(x)
    assert ((one - other).abs() > 1e-4).float().mean() < 0.01
    torch.testing.assert_close(one, other, atol=step_of(x.numpy(), weight.numpy()), rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_of_one_sign_lose_no_more_than_others(kernel):
    """Each row has a separate zero point: after GELU most values have the same sign."""
    x = torch.from_numpy(draw(64, 512, 1, 3)[0]).abs()
    weight = torch.randint(-127, 128, (96, 512), generator=torch.Generator().manual_seed(1)).float()
    weight[:, 0] = 127
    steps = torch.from_numpy(steps_of(weight.numpy(), kernel)).unsqueeze(1)
    rounded = (weight / steps).round() * steps
    error = kernel(weight, None)(x) - x @ rounded.T  # the error of quantized rows only
    steps = x.amax(1) / 255  # half of the steps of a symmetric quantization
    uniform = steps / 12**0.5 * rounded.norm(dim=1).mean()
    assert (error.std(dim=1) / uniform).mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_bias_may_be_left_to_the_next_layer(kernel):
    x, weight, bias = map(torch.from_numpy, draw(5, 48, 33, 1))
    mapped = kernel(weight, bias)
    torch.testing.assert_close(mapped(x, add_bias=False) + bias, mapped(x))
    torch.testing.assert_close(kernel(weight, None)(x), mapped(x, add_bias=False))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e30, 1e-30])
def test_rows_that_are_all_alike(kernel, value):
    weight = torch.from_numpy(draw(1, 40, 20, 2)[1])
    x = torch.full((3, 40), value)
    torch.testing.assert_close(kernel(weight, None)(x), x @ weight.T, rtol=0.02, atol=abs(value) * 0.02)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("column", [0, 17, 39])
def test_a_non_finite_value_affects_only_its_row(kernel, bad, column):
    weight = torch.from_numpy(draw(1, 40, 20, 2)[1])
    x = torch.ones(15, 40)
    x[4, column] = bad
    spoilt = ~kernel(weight, None)(x).isfinite()
    assert spoilt[4].all()
    assert not spoilt[[row for row in range(15) if row != 4]].any()


@compiled
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 130), *[st.integers(1, 150)] * 3, st.booleans(), st.integers(0, 1000))
def test_two_fused_linear_layers_equal_separate_ones(rows, inputs, inner, outputs, biased, seed):
    x, weight, bias = map(torch.from_numpy, draw(rows, inputs, inner, seed))
    second = torch.from_numpy(draw(1, inner, outputs, seed + 1)[1])
    up = LinearModule(LinearInt8Native, weight, bias if biased else None)
    down = LinearModule(LinearInt8Native, second, torch.randn(outputs))
    between = gelu_native(up(x), torch.zeros(inner))
    both = FeedForwardInt8Native(up=up, down=down, gelu=gelu_native)
    assert both.linears is not None
    step = step_of(between.numpy(), second.numpy())
    torch.testing.assert_close(both(x), down(between, add_bias=False), atol=step, rtol=1e-5)


@compiled
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 130), *[st.integers(1, 150)] * 3, st.booleans(), st.integers(0, 1000))
def test_fused_gated_linear_layers_equal_separate_ones(rows, inputs, inner, outputs, biased, seed):
    x, weight, bias = map(torch.from_numpy, draw(rows, inputs, 2 * inner, seed))
    second = torch.from_numpy(draw(1, inner, outputs, seed + 1)[1])
    first = LinearModule(LinearInt8Native, weight, bias if biased else None)
    down = LinearModule(LinearInt8Native, second, torch.randn(outputs))
    activation = ACTIVATIONS[seed % 5]
    between = gated_native(first(x), activation)
    both = GatedFeedForwardInt8Native(gate_up=first, down=down, gated=gated_native, activation=activation)
    assert both.linears is not None
    step = step_of(between.numpy(), second.numpy())
    for add_bias in (True, False):
        torch.testing.assert_close(both(x, add_bias=add_bias), down(between, add_bias=add_bias), atol=step, rtol=1e-5)


@compiled
@pytest.mark.parametrize("kernel", [LinearInt8Native, LinearTorch])
def test_maps_of_which_one_is_not_compiled_are_called_one_by_one(kernel):
    x, weight, bias = map(torch.from_numpy, draw(3, 40, 80, 1))
    fused = kernel is LinearInt8Native
    first, down = LinearModule(kernel, weight, bias), LinearModule(LinearInt8Native, weight, None)
    gated = GatedFeedForwardInt8Native(gate_up=first, down=down, gated=gated_native, activation="silu")
    assert (gated.linears is not None) == fused
    plain = FeedForwardInt8Native(up=LinearModule(kernel, weight[:40], bias[:40]), down=down, gelu=gelu_native)
    assert (plain.linears is not None) == fused
    if not fused:
        assert torch.equal(gated(x), down(gated_native(first(x), "silu")))
        assert torch.equal(plain(x), down(gelu_native(plain.up(x, add_bias=False), bias[:40]), add_bias=False))


@compiled
def test_linear_layers_with_different_sizes_are_not_fused():
    _, weight, bias = map(torch.from_numpy, draw(1, 40, 80, 1))
    first, down = LinearModule(LinearInt8Native, weight[:30], bias[:30]), LinearModule(LinearInt8Native, weight, None)
    gated = GatedFeedForwardInt8Native(gate_up=first, down=down, gated=gated_native, activation="silu")
    assert gated.linears is None
    assert FeedForwardInt8Native(up=first, down=down, gelu=gelu_native).linears is None
