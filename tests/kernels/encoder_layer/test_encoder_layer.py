"""A whole encoder layer in one go: to the bit what its parts are one by one, whatever the sequences and the threads."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.nn import AttentionSpec, PackedBatch
from millpond.nn.encoder_layer import EncoderLayerParts, ResidualNormParts
from millpond_kernels import native
from millpond_kernels.attention.native import attention, attention_int8, longest_sequence
from millpond_kernels.attention.sdpa import attention as attention_sdpa
from millpond_kernels.feed_forward.gelu import gelu_native, gelu_torch
from millpond_kernels.linear.in_torch import LinearTorch
from millpond_kernels.linear.int8 import LinearInt8Native
from millpond_kernels.linear.native import LinearNative
from millpond_kernels.norms.layer_norm_residual import layer_norm_residual_native, layer_norm_residual_torch

pytestmark = pytest.mark.skipif(not native.is_available(), reason="needs the kernels compiled for this processor")
in_bytes = pytest.mark.skipif(
    native.int8_attention_availability() is not True,
    reason="needs the kernels compiled for a processor with AVX-512 VNNI",
)
KINDS = [
    pytest.param(LinearNative, attention, id="float32"),
    pytest.param(LinearInt8Native, attention, id="int8 and attention in float32"),
    pytest.param(LinearInt8Native, attention_int8, id="int8", marks=in_bytes),
]


@pytest.fixture(autouse=True)
def as_before():
    """The number of threads is torch's; each test leaves it as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def parts_of(kind, kernel, *, size=48, heads=3, head_dim=16, inner=80, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    def linear(inputs, outputs):
        return kind(draw(outputs, inputs) / inputs**0.5, draw(outputs))

    def norm():
        return ResidualNormParts(bias=draw(size), weight=draw(size), shift=draw(size), eps=1e-5)

    width = heads * head_dim
    return EncoderLayerParts(
        qkv=linear(size, 3 * width),
        output=linear(width, size),
        up=linear(size, inner),
        down=linear(inner, size),
        num_heads=heads,
        head_dim=head_dim,
        spec=AttentionSpec(scale=head_dim**-0.5),
        attention=kernel,
        gelu=gelu_native,
        norm=layer_norm_residual_native,
        attention_norm=norm(),
        feed_forward_norm=norm(),
    )


def packed(lengths):
    return PackedBatch.pack([torch.zeros(length, dtype=torch.long) for length in lengths])


def normed(parts, norm, x, residual):
    return parts.norm(x, norm.bias, residual, norm.weight, norm.shift, norm.eps)


def one_by_one(parts, x, batch):
    heads = parts.qkv(x).unflatten(1, (3, parts.num_heads, -1)).unbind(1)
    attended = parts.attention(*heads, batch, parts.spec).flatten(1)
    x = normed(parts, parts.attention_norm, parts.output(attended, add_bias=False), x)
    return normed(parts, parts.feed_forward_norm, feed_forward(parts, x), x)


def feed_forward(parts, x):
    if isinstance(parts.down, LinearInt8Native):
        return parts.down.after_gelu(parts.up, parts.gelu)(x)
    inner = parts.gelu(parts.up(x, add_bias=False), parts.up.bias[: parts.up.outputs])
    return parts.down(inner, add_bias=False)


@pytest.mark.parametrize(("kind", "kernel"), KINDS)
@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 130), min_size=1, max_size=12),
    sizes=st.sampled_from([(48, 3, 16, 80), (32, 2, 32, 100), (20, 1, 48, 33)]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_a_layer_in_one_go_is_its_parts_one_by_one(kind, kernel, lengths, sizes, threads, seed):
    size, heads, head_dim, inner = sizes
    parts = parts_of(kind, kernel, size=size, heads=heads, head_dim=head_dim, inner=inner, seed=seed)
    whole, batch = parts.down.encoder_layer(parts), packed(sorted(lengths))
    x = torch.randn(batch.num_tokens, size, generator=torch.Generator().manual_seed(seed))
    before = x.clone()
    torch.set_num_threads(threads)
    found = whole(x, batch)
    torch.testing.assert_close(found, one_by_one(parts, x, batch), rtol=0, atol=0)
    torch.testing.assert_close(x, before, rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "kernel"), KINDS)
def test_a_sequence_has_the_same_bits_in_any_batch_by_any_number_of_threads(kind, kernel):
    parts = parts_of(kind, kernel)
    whole, batch = parts.down.encoder_layer(parts), packed([3, 40, 40, 50, 97, 120])
    x = torch.randn(batch.num_tokens, 48)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        together = whole(x, batch)
        for start, length in zip(batch.offsets, batch.lengths, strict=False):
            alone = whole(x[start : start + length], packed([length]))
            torch.testing.assert_close(alone, together[start : start + length], rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "kernel"), KINDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_spoils_its_sequence_and_no_other(kind, kernel, bad):
    parts = parts_of(kind, kernel)
    x = torch.randn(60, 48)
    x[25, 7] = bad
    finite = parts.down.encoder_layer(parts)(x, packed([20, 20, 20])).isfinite()
    assert not finite[25].any()
    assert finite[:20].all()
    assert finite[40:].all()


@pytest.mark.parametrize(("kind", "kernel"), KINDS)
def test_a_layer_in_one_go_needs_the_compiled_code_for_all_of_it(kind, kernel):
    parts = parts_of(kind, kernel)
    offer = parts.down.encoder_layer
    assert offer(parts) is not None
    assert offer(replace(parts, gelu=gelu_torch)) is None
    assert offer(replace(parts, norm=layer_norm_residual_torch)) is None
    assert offer(replace(parts, attention=attention_sdpa)) is None
    assert offer(replace(parts, qkv=LinearTorch(torch.randn(144, 48), None))) is None
    assert offer(replace(parts, qkv=None)) is None
    assert offer(replace(parts, output=parts.qkv)) is None
    assert offer(replace(parts, up=kind(torch.randn(80, 48), None))) is None
    assert offer(replace(parts, spec=AttentionSpec(scale=0.25, window=4))) is None
    assert offer(replace(parts, spec=AttentionSpec(scale=0.25, bias="distance"))) is None
    assert offer(replace(parts, attention_norm=replace(parts.attention_norm, shift=None))) is None
    assert offer(replace(parts, feed_forward_norm=replace(parts.feed_forward_norm, bias=torch.randn(47)))) is None
    odd = parts_of(kind, kernel, size=48, heads=6, head_dim=8)
    assert offer(odd) is None


@pytest.mark.parametrize(("kind", "kernel"), KINDS)
def test_some_batches_are_left_to_the_parts(kind, kernel):
    parts = parts_of(kind, kernel)
    whole = parts.down.encoder_layer(parts)
    assert whole.takes(packed([5, longest_sequence()]))
    assert not whole.takes(packed([5, longest_sequence() + 1]))
    hides = PackedBatch.pack([torch.zeros(5, dtype=torch.long)], features=[{"num_attended": 3}])
    assert not whole.takes(hides)


@pytest.mark.parametrize(("kind", "kernel"), KINDS)
def test_rows_that_are_not_those_of_the_batch_are_refused(kind, kernel):
    parts = parts_of(kind, kernel)
    whole = parts.down.encoder_layer(parts)
    with pytest.raises(ValueError, match="x has 6 rows, and the batch 5 tokens"):
        whole(torch.randn(6, 48), packed([5]))
    with pytest.raises(ValueError, match=r"of the shape \[any, 48\]"):
        whole(torch.randn(5, 47), packed([5]))
