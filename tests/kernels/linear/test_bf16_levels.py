"""bfloat16 products on each kind of processor: with vdpbf16ps, and with products of floats in both vector widths."""

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu, linear, silu

from millpond import LLM
from millpond.nn import AttentionSpec, PackedBatch
from millpond.testing.checkpoints import tiny
from millpond_kernels import native
from millpond_kernels.attention.native import attention_bf16
from millpond_kernels.feed_forward.gated import gated_native
from millpond_kernels.feed_forward.gelu import gelu_native
from millpond_kernels.feed_forward.native import FeedForwardBf16Native, GatedFeedForwardBf16Native
from millpond_kernels.linear.bf16 import LinearBf16Native
from millpond_kernels.testing.parts import LinearModule

ROWS = (0, 1, 3, 4, 5, 13, 97)
SHAPES = ((1, 1), (7, 17), (8, 16), (9, 15), (384, 64), (100, 33))
SUM_ERROR = 1e-5  # of sums in float32


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rounded(x):
    """The nearest bfloat16 values, in float64."""
    return x.to(torch.bfloat16).double()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_are_those_of_rounded_factors(bf16_level, shape):
    inputs, outputs = shape
    weight, bias = draw(outputs, inputs) / inputs**0.5, draw(outputs, seed=1)
    kernel = LinearBf16Native(weight, bias)
    for rows in ROWS:
        x = draw(rows, inputs, seed=rows)
        expected = linear(rounded(x), rounded(weight), bias.double())
        torch.testing.assert_close(kernel(x).double(), expected, rtol=SUM_ERROR, atol=SUM_ERROR, msg=bf16_level)
        without_bias = kernel(x, add_bias=False).double()
        torch.testing.assert_close(without_bias, expected - bias, rtol=SUM_ERROR, atol=SUM_ERROR, msg=bf16_level)


def test_rows_are_rounded_to_the_nearest_even_value(bf16_level):
    halfway = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1 + 2**-8 + 2**-20, 2.0**127, 0.0])
    actual = LinearBf16Native(torch.eye(6), None)(halfway.diag()).diag()
    np.testing.assert_array_equal(actual, halfway.to(torch.bfloat16).float(), err_msg=bf16_level)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_nonfinite_value_affects_only_its_row(bf16_level, value):
    x = draw(13, 40)
    x[5, 7] = value
    actual = LinearBf16Native(draw(33, 40, seed=1), None)(x)
    finite = actual.isfinite().all(1)
    assert not finite[5]
    assert finite.sum() == 12, bf16_level


def test_row_does_not_depend_on_the_batch(bf16_level):
    kernel, x = LinearBf16Native(draw(70, 100), draw(70, seed=1)), draw(97, 100, seed=2)
    together = kernel(x)
    for row in (0, 5, 11, 12, 96):
        np.testing.assert_array_equal(kernel(x[row : row + 1])[0], together[row], err_msg=bf16_level)


def test_feed_forward_blocks_equal_their_parts(bf16_level):
    x, size, inner = draw(101, 48), 48, 80
    up = LinearModule(LinearBf16Native, draw(inner, size, seed=1) / 7, draw(inner, seed=2))
    down = LinearModule(LinearBf16Native, draw(size, inner, seed=3) / 9, draw(size, seed=4))
    fused = FeedForwardBf16Native(up=up, down=down, gelu=gelu_native)
    assert fused.linears is not None
    expected = down(gelu(up(x)), add_bias=False)
    torch.testing.assert_close(fused(x), expected, rtol=0.01, atol=0.01, msg=bf16_level)
    both = LinearModule(LinearBf16Native, draw(2 * inner, size, seed=5) / 7, None)
    gated = GatedFeedForwardBf16Native(gate_up=both, down=down, gated=gated_native, activation="silu")
    assert gated.linears is not None
    gate, factor = both(x).chunk(2, dim=1)
    torch.testing.assert_close(gated(x), down(silu(gate) * factor), rtol=0.01, atol=0.01, msg=bf16_level)


def test_attention_agrees_with_torch():
    if native.bf16_attention_availability() is not True:
        pytest.skip("needs a processor with AVX512-BF16")
    for length in (1, 2, 15, 16, 17, 50, 130):
        ids = [torch.zeros(length, dtype=torch.long)] * 2
        batch, (query, key, value) = PackedBatch.pack(ids), (draw(2 * length, 3, 48, seed=seed) for seed in range(3))
        actual = attention_bf16(query, key, value, batch, AttentionSpec(scale=48**-0.5))
        heads = [x.unflatten(0, (2, length)).transpose(1, 2) for x in (query, key, value)]
        expected = torch.nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(0, 1)
        torch.testing.assert_close(actual, expected, rtol=0.01, atol=0.02)


@pytest.mark.parametrize("architecture", ["BertModel", "ModernBertModel", "Qwen3ForCausalLM"])
def test_model_in_bfloat16_is_close_to_float32(bf16_level, architecture, tmp_path):
    folder = str(tiny(architecture, tmp_path))
    prompts = ["the cat", "rain fell over the harbour while boats came home "]
    with LLM(folder, dtype="float32") as exact, LLM(folder, dtype="bfloat16") as narrow:
        expected, actual = (llm.embed(prompts, output="array") for llm in (exact, narrow))
        alone = narrow.embed(prompts[1], output="array")
    assert (np.sum(expected * actual, axis=1) > 0.999).all(), bf16_level
    np.testing.assert_array_equal(alone[0], actual[1])
