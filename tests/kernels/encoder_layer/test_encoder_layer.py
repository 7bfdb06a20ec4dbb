"""The compiled op ``encoder_layer`` has the bits of its parts, for all sequences and numbers of threads."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.nn import AttentionSpec, PackedBatch
from millpond_kernels import native
from millpond_kernels.attention.native import attention, attention_int8, longest_sequence
from millpond_kernels.encoder_layer.native import (
    EncoderLayerAllInt8Native,
    EncoderLayerInt8Native,
    EncoderLayerNative,
)
from millpond_kernels.encoder_layer.reference import EncoderLayerReference
from millpond_kernels.feed_forward.gelu import gelu_native
from millpond_kernels.feed_forward.native import FeedForwardInt8Native
from millpond_kernels.feed_forward.reference import FeedForwardReference
from millpond_kernels.linear.in_torch import LinearTorch
from millpond_kernels.norms.layer_norm_residual import layer_norm_residual_native
from millpond_kernels.testing.parts import AttentionModule, LinearModule

pytestmark = pytest.mark.skipif(not native.is_available(), reason="needs the kernels compiled for this processor")
in_bytes = pytest.mark.skipif(
    native.int8_attention_availability() is not True,
    reason="needs the kernels compiled for a processor with AVX-512 VNNI",
)
VARIANTS = [
    pytest.param(EncoderLayerNative, attention, id="float32"),
    pytest.param(EncoderLayerInt8Native, attention, id="int8 and attention in float32"),
    pytest.param(EncoderLayerAllInt8Native, attention_int8, id="int8", marks=in_bytes),
]


@pytest.fixture(autouse=True)
def as_before():
    """The number of threads is torch's; each test leaves it as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def parts_of(kind, kernel, *, size=48, heads=3, head_dim=16, inner=80, seed=0, **others):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    def linear(inputs, outputs):
        return LinearModule(kind.kind, draw(outputs, inputs) / inputs**0.5, draw(outputs))

    def norm():
        return draw(size), draw(size), draw(size), 1e-5

    width = heads * head_dim
    half = FeedForwardReference if kind is EncoderLayerNative else FeedForwardInt8Native
    parts = {
        "qkv": linear(size, 3 * width),
        "attention": AttentionModule(kernel, AttentionSpec(scale=head_dim**-0.5)),
        "output": linear(width, size),
        "feed_forward": half(up=linear(size, inner), down=linear(inner, size), gelu=gelu_native),
        "norm": layer_norm_residual_native,
        "attention_norm": norm(),
        "feed_forward_norm": norm(),
        "num_heads": heads,
    }
    return {**parts, **others}


def packed(lengths):
    return PackedBatch.pack([torch.zeros(length, dtype=torch.long) for length in lengths])


def equal(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("kind", "kernel"), VARIANTS)
@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 130), min_size=1, max_size=12),
    sizes=st.sampled_from([(48, 3, 16, 80), (32, 2, 32, 100), (20, 1, 48, 33)]),
    threads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_a_fused_layer_equals_its_separate_parts(kind, kernel, lengths, sizes, threads, seed):
    size, heads, head_dim, inner = sizes
    parts = parts_of(kind, kernel, size=size, heads=heads, head_dim=head_dim, inner=inner, seed=seed)
    whole, batch = kind(**parts), packed(sorted(lengths))
    assert whole.layer is not None
    x = torch.randn(batch.num_tokens, size, generator=torch.Generator().manual_seed(seed))
    before = x.clone()
    torch.set_num_threads(threads)
    equal(whole(x, batch), EncoderLayerReference(**parts)(x, batch))
    equal(x, before)


@pytest.mark.parametrize(("kind", "kernel"), VARIANTS)
def test_a_sequence_has_the_same_bits_in_any_batch_by_any_number_of_threads(kind, kernel):
    whole, batch = kind(**parts_of(kind, kernel)), packed([3, 40, 40, 50, 97, 120])
    x = torch.randn(batch.num_tokens, 48)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        together = whole(x, batch)
        for start, length in zip(batch.offsets, batch.lengths, strict=False):
            equal(whole(x[start : start + length], packed([length])), together[start : start + length])


@pytest.mark.parametrize(("kind", "kernel"), VARIANTS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_value_affects_only_its_sequence(kind, kernel, bad):
    x = torch.randn(60, 48)
    x[25, 7] = bad
    finite = kind(**parts_of(kind, kernel))(x, packed([20, 20, 20])).isfinite()
    assert not finite[25].any()
    assert finite[:20].all()
    assert finite[40:].all()


def odd_parts(kind, kernel):
    """Parts that the compiled code cannot compute, by what is odd."""
    plain = parts_of(kind, kernel)
    _, weight, shift, eps = plain["attention_norm"]
    half, weight_of_up = type(plain["feed_forward"]), torch.randn(80, 48) / 7
    down = plain["feed_forward"].down
    wider = LinearModule(kind.kind, torch.randn(48, 64), torch.randn(48))
    return {
        "a map in torch": {"qkv": LinearModule(LinearTorch, torch.randn(144, 48) / 7, torch.randn(144))},
        "a map of another size": {"feed_forward": half(up=down, down=wider, gelu=gelu_native)},
        "no bias": {
            "feed_forward": half(up=LinearModule(kind.kind, weight_of_up, None), down=down, gelu=gelu_native),
        },
        "a window": {"attention": AttentionModule(kernel, AttentionSpec(scale=0.25, window=4))},
        "causal": {"attention": AttentionModule(kernel, AttentionSpec(scale=0.25, causal=True))},
        "a norm without bias": {"attention_norm": (None, weight, shift, eps)},
        "a vector with gaps": {"attention_norm": (torch.randn(48, 2)[:, 0], weight, shift, eps)},
    }


ODD = ("a map in torch", "no bias", "a window", "causal", "a norm without bias", "a vector with gaps")


@pytest.mark.parametrize(("kind", "kernel"), VARIANTS)
@pytest.mark.parametrize("odd", ODD)
def test_parts_that_compiled_code_cannot_join_are_called_one_by_one(kind, kernel, odd):
    parts = parts_of(kind, kernel, **odd_parts(kind, kernel)[odd])
    whole, batch, x = kind(**parts), packed([3, 9]), torch.randn(12, 48)
    assert whole.layer is None
    equal(whole(x, batch), EncoderLayerReference(**parts)(x, batch))


@pytest.mark.parametrize(("kind", "kernel"), VARIANTS)
def test_heads_and_maps_of_other_sizes_are_not_joined(kind, kernel):
    assert kind(**parts_of(kind, kernel, heads=6, head_dim=8)).layer is None
    assert kind(**parts_of(kind, kernel, **odd_parts(kind, kernel)["a map of another size"])).layer is None
    short = (torch.randn(47), *[torch.randn(48)] * 2, 1e-5)
    assert kind(**parts_of(kind, kernel, feed_forward_norm=short)).layer is None


@pytest.mark.parametrize(("kind", "kernel"), VARIANTS)
def test_long_sequences_and_masked_tokens_are_left_to_the_parts(kind, kernel):
    parts = parts_of(kind, kernel)
    whole, plain = kind(**parts), EncoderLayerReference(**parts)
    whole.compute = None  # a call of the compiled code fails
    long = packed([5, longest_sequence() + 1])
    masked = PackedBatch.pack([torch.zeros(5, dtype=torch.long)], features=[{"num_attended": 3}])
    if kernel is attention_int8:
        masked = long
    for batch in (long, masked):
        x = torch.randn(batch.num_tokens, 48)
        equal(whole(x, batch), plain(x, batch))
    with pytest.raises(TypeError):
        whole(torch.randn(5, 48), packed([5]))


@pytest.mark.parametrize(("kind", "kernel"), VARIANTS)
def test_rows_that_are_not_those_of_the_batch_are_refused(kind, kernel):
    whole = kind(**parts_of(kind, kernel))
    with pytest.raises(ValueError, match="x has 6 rows, but the batch has 5 tokens"):
        whole(torch.randn(6, 48), packed([5]))
    with pytest.raises(ValueError, match=r"with the shape \[any, 48\]"):
        whole(torch.randn(5, 47), packed([5]))
