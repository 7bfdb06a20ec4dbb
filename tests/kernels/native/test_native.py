"""The compiled kernels and their torch variants against float64, on shapes with every remainder of the tile sizes."""

from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from millpond.nn import AttentionSpec, PackedBatch
from millpond_kernels import native
from millpond_kernels.attention import native as attention_native
from millpond_kernels.attention.reference import attention as reference
from millpond_kernels.attention.rotary import rotary_native, rotary_torch
from millpond_kernels.feed_forward.gated import ACTIVATIONS, gated_exp, gated_native, gated_torch
from millpond_kernels.feed_forward.gelu import gelu_erf, gelu_native, gelu_torch
from millpond_kernels.feed_forward.native import GatedFeedForwardNative
from millpond_kernels.linear.in_torch import LinearTorch
from millpond_kernels.linear.native import LinearNative
from millpond_kernels.norms.layer_norm_residual import layer_norm_residual_native, layer_norm_residual_torch
from millpond_kernels.norms.rms_norm import rms_norm_native, rms_norm_torch
from millpond_kernels.testing.parts import LinearModule

compiled = pytest.mark.skipif(not native.is_available(), reason="needs the kernels compiled for this processor")
GELUS = [gelu_torch, gelu_erf, pytest.param(gelu_native, marks=compiled)]
NORMS = [layer_norm_residual_torch, pytest.param(layer_norm_residual_native, marks=compiled)]
GATES = [gated_torch, gated_exp, pytest.param(gated_native, marks=compiled)]
ROTATIONS = [rotary_torch, pytest.param(rotary_native, marks=compiled)]
RMS_NORMS = [rms_norm_torch, pytest.param(rms_norm_native, marks=compiled)]
EXACT = {
    "gelu": lambda x: x * torch.special.ndtr(x),
    "gelu_tanh": lambda x: x * (1 + ((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)).tanh()) / 2,
    "quick_gelu": lambda x: x / (1 + (-1.702 * x).exp()),
    "relu": lambda x: x.clamp(min=0),
    "silu": lambda x: x / (1 + (-x).exp()),
}
sizes = st.integers(1, 67)


def packed(lengths):
    return PackedBatch.pack([torch.zeros(length, dtype=torch.long) for length in sorted(lengths)])


@compiled
@given(
    lengths=st.lists(st.integers(1, 140), min_size=1, max_size=5),
    head_dim=st.sampled_from([16, 32, 48, 64, 80, 128]),
    heads=st.sampled_from([(1, 1), (4, 4), (4, 2), (6, 1)]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_attention_is_the_reference(lengths, head_dim, heads, seed):
    torch.manual_seed(seed)
    batch = packed(lengths)
    num_heads, kv_heads = heads
    # One tensor holds all three, as a fused map leaves them: rows are further apart than they are wide.
    joint = torch.randn(batch.num_tokens, num_heads + 2 * kv_heads, head_dim) * 2
    query, key, value = joint.split([num_heads, kv_heads, kv_heads], dim=1)
    spec = AttentionSpec(scale=head_dim**-0.5)
    actual = attention_native.attention(query, key, value, batch, spec)
    torch.testing.assert_close(actual, reference(query, key, value, batch, spec), atol=3e-5, rtol=1e-5)


@compiled
@pytest.mark.parametrize("spec", [AttentionSpec(scale=0.2, causal=True), AttentionSpec(scale=0.2, window=3)])
@pytest.mark.parametrize("head_dim", [20, 32])
def test_inputs_without_a_compiled_kernel_are_computed_by_torch(spec, head_dim):
    batch = packed([1, 9, 9, 300])
    query, key, value = torch.randn(3, batch.num_tokens, 2, head_dim)
    actual = attention_native.attention(query, key, value, batch, spec)
    torch.testing.assert_close(actual, reference(query, key, value, batch, spec), atol=1e-5, rtol=1e-5)


@compiled
def test_attention_is_finite_for_scores_of_any_size():
    torch.manual_seed(0)  # rounding decides which of two scores is the larger if they are almost equal
    batch = packed([33])
    query, key, value = torch.randn(3, 33, 1, 16)
    spec = AttentionSpec(scale=1000.0)
    actual = attention_native.attention(query, key, value, batch, spec)
    torch.testing.assert_close(actual, reference(query, key, value, batch, spec), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("gelu", GELUS)
@given(rows=sizes, columns=sizes, seed=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_gelu_is_exact(gelu, rows, columns, seed):
    torch.manual_seed(seed)
    x, bias = torch.randn(rows, columns) * 4, torch.randn(columns)
    exact = functional.gelu((x + bias).double())
    torch.testing.assert_close(gelu(x.clone(), bias).double(), exact, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("gelu", GELUS)
def test_gelu_at_the_edges(gelu):
    edges = [0.0, -0.0, 1e-30, -1e-30, 3.9, 5.6, -5.6, 20.0, -20.0, 1e30, -1e30]
    x = torch.tensor(edges * 3).unsqueeze(0)
    actual = gelu(x.clone(), torch.zeros(x.shape[1]))
    torch.testing.assert_close(actual, functional.gelu(x), atol=2e-6, rtol=1e-6)
    nan = gelu(torch.full((1, 20), torch.nan), torch.zeros(20))
    assert nan.isnan().all()


@pytest.mark.parametrize("norm", NORMS)
@given(rows=sizes, columns=st.integers(8, 67), seed=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_layer_norm_is_that_of_the_sum(norm, rows, columns, seed):
    torch.manual_seed(seed)
    x, residual = torch.randn(2, rows, columns) * 3 + 5
    bias, weight, shift = torch.randn(3, columns)
    exact = functional.layer_norm(x.double() + bias + residual, (columns,), weight.double(), shift.double(), 1e-5)
    actual = norm(x.clone(), bias, residual, weight, shift, 1e-5)
    torch.testing.assert_close(actual.double(), exact, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("gated", GATES)
@given(rows=sizes, columns=sizes, activation=st.sampled_from(ACTIVATIONS), seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_gates_are_their_formulas(gated, rows, columns, activation, seed):
    torch.manual_seed(seed)
    x = torch.randn(rows, 2 * columns) * 4
    gate, up = x.double().chunk(2, dim=-1)
    exact = EXACT[activation](gate) * up
    torch.testing.assert_close(gated(x, activation).double(), exact, atol=2e-5, rtol=2e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("gated", GATES)
def test_gates_at_the_edges(gated, activation):
    edges = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 5.6, -5.6, 20.0, -20.0, 87.0, -87.0, 200.0, -200.0, 1e5, -1e5] * 3)
    actual = gated(torch.cat([edges, torch.ones_like(edges)]).unsqueeze(0), activation)[0]
    torch.testing.assert_close(actual.double(), EXACT[activation](edges.double()), atol=1e-6, rtol=1e-6)
    assert gated(torch.full((1, 40), torch.nan), activation).isnan().all()


@pytest.mark.parametrize("gated", GATES)
def test_gated_refuses_odd_sizes_and_unknown_activations(gated):
    with pytest.raises(ValueError, match=r"rows of even size .* got rows of size 7 and 'silu'"):
        gated(torch.randn(2, 7), "silu")
    with pytest.raises(ValueError, match="gelu, gelu_tanh, quick_gelu, relu, silu; got rows of size 8 and 'swish'"):
        gated(torch.randn(2, 8), "swish")


@pytest.mark.parametrize("rotary", ROTATIONS)
@given(rows=sizes, heads=st.integers(1, 4), half=st.integers(1, 35), rest=st.integers(0, 9), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_heads_are_turned_as_complex_numbers_are(rotary, rows, heads, half, rest, seed):
    torch.manual_seed(seed)
    # Keys among queries and values, as a fused map leaves them: heads of other kinds must stay as they are.
    joint = torch.randn(rows, 3 * heads, 2 * half + rest)
    before, angles = joint.clone(), torch.randn(rows, 1, half) * 9
    x = joint[:, heads : 2 * heads]
    first, second = x[..., : 2 * half].double().chunk(2, dim=-1)
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(angles.double()), angles.double())
    exact = torch.cat([turned.real, turned.imag, x[..., 2 * half :].double()], dim=-1)
    actual = rotary(x, angles.cos(), angles.sin())
    torch.testing.assert_close(actual.double(), exact, atol=2e-6, rtol=1e-6)
    assert torch.equal(joint[:, :heads], before[:, :heads])
    assert torch.equal(joint[:, 2 * heads :], before[:, 2 * heads :])


@pytest.mark.parametrize("norm", RMS_NORMS)
@given(rows=sizes, columns=sizes, eps=st.sampled_from([1e-6, 1e-2]), seed=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_rows_are_divided_by_their_root_mean_square(norm, rows, columns, eps, seed):
    torch.manual_seed(seed)
    x, weight = torch.randn(rows, columns) * 3 + 1, torch.randn(columns)
    full = x.double()
    exact = full / (full.square().mean(dim=1, keepdim=True) + eps).sqrt() * weight.double()
    torch.testing.assert_close(norm(x, weight, eps).double(), exact, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("kernel", [reference, pytest.param(attention_native.attention, marks=compiled)])
@pytest.mark.parametrize("head_dim", [5, 12, 16])
def test_a_sequence_has_the_same_bits_wherever_its_heads_are_in_memory(kernel, head_dim):
    lengths = (4, 6, 6, 1, 19, 9, 9)
    heads = torch.randn(sum(lengths), 3, 3, head_dim, generator=torch.Generator().manual_seed(0))

    def attended(rows, *lengths):
        batch = PackedBatch.pack([torch.zeros(length, dtype=torch.long) for length in lengths])
        return kernel(*rows.unbind(1), batch, AttentionSpec(scale=0.25))

    together = attended(heads, *lengths).split(lengths)
    for rows, length, actual in zip(heads.split(lengths), lengths, together, strict=True):
        assert torch.equal(attended(rows.clone(), length), actual)


@compiled
@given(rows=st.integers(1, 200), inputs=sizes, outputs=sizes, biased=st.booleans(), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_fused_gated_linear_layers_are_bit_identical_to_separate_ones(rows, inputs, outputs, biased, seed):
    torch.manual_seed(seed)
    inner, activation = 64 * (1 + seed % 3), ACTIVATIONS[seed % 5]
    first = LinearModule(
        LinearNative, torch.randn(2 * inner, inputs) / inputs, torch.randn(2 * inner) if biased else None
    )
    down = LinearModule(LinearNative, torch.randn(outputs, inner), torch.randn(outputs) if biased else None)
    x = torch.randn(rows, inputs)
    both = GatedFeedForwardNative(gate_up=first, down=down, gated=gated_native, activation=activation)
    assert both.linears is not None
    between = gated_native(first(x), activation)
    for add_bias in (True, False):
        assert torch.equal(both(x, add_bias=add_bias), down(between, add_bias=add_bias))


@compiled
@pytest.mark.parametrize("inner", [64, 40])
def test_maps_with_a_gate_that_compiled_code_cannot_fuse_are_called_one_by_one(inner):
    weight, x = torch.randn(2 * inner, 64), torch.randn(7, 64)
    down = LinearModule(LinearNative, torch.randn(5, inner), torch.randn(5))
    for kernel in (LinearNative, LinearTorch):
        first = LinearModule(kernel, weight, None)
        both = GatedFeedForwardNative(gate_up=first, down=down, gated=gated_native, activation="silu")
        assert (both.linears is not None) == (kernel is LinearNative and inner == 64)
        assert torch.equal(both(x), down(gated_native(first(x), "silu")))


# --- what compiled code must not be handed ----------------------------------------------------------------------------


@compiled
@pytest.mark.parametrize("target", ["linear.native:LinearNative", "linear.int8:LinearInt8Native"])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.randn(3, 8), r"with the shape \[3, 8\]"),
        (torch.randn(3, 9, dtype=torch.float64), "x is torch.float64"),
        (torch.randn(9), r"with the shape \[9\]"),
        (torch.empty(3, 9, device="meta"), "on meta"),
    ],
    ids=["width", "dtype", "dimensions", "device"],
)
def test_linear_refuses_inputs_of_other_shapes_or_dtypes(target, x, message):
    module, _, name = target.partition(":")
    mapped = getattr(import_module(f"millpond_kernels.{module}"), name)(torch.randn(4, 9), None)
    with pytest.raises(ValueError, match=rf"{message}.*needs torch.float32 with the shape \[any, 9\] on the CPU"):
        mapped(x)


@compiled
def test_tensors_that_do_not_belong_together_are_refused_as_torch_refuses_them():
    x = torch.randn(4, 16)
    with pytest.raises(RuntimeError):
        gelu_native(x, torch.randn(8))
    with pytest.raises(RuntimeError):
        layer_norm_residual_native(x, torch.randn(16), torch.randn(3, 16), torch.randn(16), torch.randn(16), 1e-5)
    with pytest.raises(RuntimeError):
        rotary_native(torch.randn(4, 2, 16), torch.randn(3, 1, 8), torch.randn(3, 1, 8))
    with pytest.raises(RuntimeError):
        rms_norm_native(x, torch.randn(8), 1e-5)
    spec = AttentionSpec(scale=1.0)
    batch = PackedBatch.pack([torch.zeros(4, dtype=torch.long)])
    with pytest.raises((RuntimeError, ValueError)):
        attention_native.attention(torch.randn(4, 2, 16), torch.randn(4, 2, 32), torch.randn(4, 2, 32), batch, spec)
