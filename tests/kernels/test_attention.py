"""Attention backends: the yardstick against a loop over single scores, every other backend against the yardstick."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.nn import AttentionSpec, PackedBatch
from millpond.nn.ops import judge_kernels
from millpond.plugins import PluginManager
from millpond_kernels import attention_reference, attention_sdpa

SCALE = 0.35
HEADS = ((1, 1), (4, 4), (4, 2), (6, 1))
LENGTHS = (1, 7, 7, 2, 1, 1, 33, 5)
SPECS = [
    AttentionSpec(scale=SCALE, causal=causal, window=window)
    for causal in (False, True)
    for window in (None, 0, 1, 3, 99)
]


def packed(lengths):
    return PackedBatch.pack([torch.zeros(length, dtype=torch.long) for length in lengths])


def random_states(lengths, *, heads=4, kv_heads=4, head_dim=5, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = sum(lengths)
    shapes = ((tokens, heads, head_dim), (tokens, kv_heads, head_dim), (tokens, kv_heads, head_dim))
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def by_hand(query, key, value, lengths, spec):
    """One score at a time, in double precision."""
    output = torch.zeros(query.shape, dtype=torch.float64)
    shared = query.shape[1] // key.shape[1]
    start = 0
    for length in lengths:
        for i in range(start, start + length):
            seen = [
                j
                for j in range(start, start + length)
                if not (spec.causal and j > i) and (spec.window is None or abs(i - j) <= spec.window)
            ]
            for head in range(query.shape[1]):
                k, v = key[:, head // shared].double(), value[:, head // shared].double()
                weights = [math.exp(spec.scale * float(query[i, head].double() @ k[j])) for j in seen]
                output[i, head] = sum(w * v[j] for w, j in zip(weights, seen, strict=True)) / sum(weights)
        start += length
    return output


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_yardstick_equals_a_loop_over_single_scores(spec):
    lengths = (1, 6, 3, 1)
    states = random_states(lengths, heads=4, kv_heads=2)
    found = attention_reference.attention(*states, packed(lengths), spec)
    assert found.shape == states[0].shape
    assert (found - by_hand(*states, lengths, spec)).abs().max() <= 1e-6


def backends(dtype=torch.float32):
    """Every attention that can run here, and the way of sdpa that else only an accelerator takes."""
    registry = PluginManager(ranks=("builtin",), disabled=()).registry
    verdicts = judge_kernels(registry, "attention", device=torch.device("cpu"), dtype=dtype)
    found = {verdict.entry.spec.variant: verdict.entry.load() for verdict in verdicts if verdict.fits}
    return {**found, "sdpa, padded": attention_sdpa._attend_padded}  # noqa: SLF001


BACKENDS = {name: backend for name, backend in backends().items() if name != "reference"}


@pytest.fixture(params=BACKENDS)
def backend(request):
    return BACKENDS[request.param]


def test_sdpa_is_there_whatever_else_is():
    assert {"sdpa", "sdpa, padded"} <= set(BACKENDS)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
def test_backend_equals_the_yardstick(backend, heads, kv_heads, spec):
    batch = packed(LENGTHS)
    states = random_states(LENGTHS, heads=heads, kv_heads=kv_heads)
    before = [state.clone() for state in states]
    found = backend(*states, batch, spec)
    assert found.shape == states[0].shape
    assert torch.isfinite(found).all()
    assert all(torch.equal(state, copy) for state, copy in zip(states, before, strict=True))
    assert (found - attention_reference.attention(*states, batch, spec)).abs().max() <= 1e-5


@given(
    lengths=st.lists(st.integers(1, 20) | st.sampled_from([63, 64, 65, 80]), min_size=1, max_size=8),
    shape=st.tuples(st.sampled_from(HEADS), st.integers(1, 17) | st.sampled_from([16, 32, 48, 64])),
    causal=st.booleans(),
    window=st.none() | st.integers(0, 25),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_every_backend_equals_the_yardstick_on_random_shapes(lengths, shape, causal, window, seed):
    heads, head_dim = shape
    spec = AttentionSpec(scale=head_dim**-0.5, causal=causal, window=window)
    states = random_states(lengths, heads=heads[0], kv_heads=heads[1], head_dim=head_dim, seed=seed)
    batch = packed(lengths)
    expected = attention_reference.attention(*states, batch, spec)
    for name, backend in BACKENDS.items():
        assert (backend(*states, batch, spec) - expected).abs().max() <= 1e-5, name


@pytest.mark.parametrize("head_dim", [16, 32, 64])
def test_long_sequences_equal_the_yardstick(backend, head_dim):
    """Some backends hand sequences over to another beyond a length: 64 and 256 tokens are such lengths."""
    lengths = (63, 64, 65, 128, 128, 255, 256, 257, 400)
    spec = AttentionSpec(scale=head_dim**-0.5)
    states = random_states(lengths, heads=4, kv_heads=2, head_dim=head_dim)
    batch = packed(lengths)
    difference = backend(*states, batch, spec) - attention_reference.attention(*states, batch, spec)
    assert difference.abs().max() <= 1e-5


@pytest.mark.parametrize("size", [1e-6, 30.0, 1e4], ids=str)
def test_tiny_and_huge_scores_equal_the_yardstick(backend, size):
    lengths = (5, 40, 40)
    spec = AttentionSpec(scale=1.0)
    query, key, value = random_states(lengths, head_dim=16)
    states = (query * size, key, value)
    batch = packed(lengths)
    found = backend(*states, batch, spec)
    assert (found - attention_reference.attention(*states, batch, spec)).abs().max() <= 1e-4


@pytest.mark.parametrize("which", [1, 2], ids=["key", "value"])  # of a query, torch's own kernel makes 0 at times
@pytest.mark.parametrize("bad", [float("nan"), float("inf")], ids=str)
def test_what_is_not_finite_is_seen_and_stays_in_its_sequence(backend, which, bad):
    """The runner refuses results that are not finite: a backend that makes numbers of them would hand out nonsense."""
    lengths = (4, 6, 6)
    spec = AttentionSpec(scale=0.25)
    states = random_states(lengths, head_dim=16)
    expected = backend(*states, packed(lengths), spec)
    states[which][6] = bad
    found = backend(*states, packed(lengths), spec)
    assert not torch.isfinite(found[4:10]).all()
    assert torch.equal(found[:4], expected[:4])
    assert torch.equal(found[10:], expected[10:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_states_keep_their_dtype(dtype):
    batch, spec = packed(LENGTHS), AttentionSpec(scale=SCALE)
    states = random_states(LENGTHS, dtype=dtype)
    expected = attention_reference.attention(*states, batch, spec)
    assert expected.dtype == dtype
    for name, backend in backends(dtype).items():
        found = backend(*states, batch, spec)
        assert found.dtype == dtype, name
        assert (found.float() - expected.float()).abs().max() <= 3e-2, name


def test_a_single_token_attends_to_itself(backend):
    query, key, value = random_states((1,), head_dim=16)
    for spec in (AttentionSpec(scale=SCALE), AttentionSpec(scale=SCALE, causal=True, window=0)):
        assert torch.allclose(backend(query, key, value, packed((1,)), spec), value, atol=1e-6)


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[7]], ids=str)
def test_sequences_do_not_see_each_other(backend, spec):
    lengths = (3, 9, 9, 1)
    states = random_states(lengths, head_dim=16)
    expected = backend(*states, packed(lengths), spec)
    for tensor in states:
        tensor[3:12] = 1e4  # the second sequence alone
    found = backend(*states, packed(lengths), spec)
    assert torch.allclose(found[:3], expected[:3], atol=1e-6)
    assert torch.allclose(found[12:], expected[12:], atol=1e-6)
    assert not torch.allclose(found[3:12], expected[3:12])


@pytest.mark.parametrize("head_dim", [5, 16])
def test_states_may_be_views_of_a_fused_map(backend, head_dim):
    """As BERT hands them over: every third block of one tensor; or with heads and tokens the other way round."""
    batch, spec = packed(LENGTHS), AttentionSpec(scale=SCALE)
    fused = torch.randn(sum(LENGTHS), 3, 4, head_dim, generator=torch.Generator().manual_seed(1))
    before = fused.clone()
    views = fused.unbind(1)
    assert not views[1].is_contiguous()
    expected = backend(*(view.clone() for view in views), batch, spec)
    found = backend(*views, batch, spec)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(fused, before)
    assert found.is_contiguous()
    turned = [view.transpose(0, 1).contiguous().transpose(0, 1) for view in views]
    assert torch.allclose(backend(*turned, batch, spec), expected, atol=1e-6)


@pytest.mark.parametrize(("runs", "device", "padded"), [(16, "meta", False), (17, "meta", True), (17, "cpu", False)])
def test_many_runs_are_padded_on_accelerators_alone(monkeypatch, runs, device, padded):
    """The meta device stands for an accelerator: it is not the CPU, and computes nothing."""
    lengths = tuple(range(1, runs + 1))
    states = [tensor.to(device) for tensor in random_states(lengths)]
    taken = []
    monkeypatch.setattr(attention_sdpa, "_attend_padded", lambda *_: taken.append("padded"))
    monkeypatch.setattr(attention_sdpa, "attend_run", lambda q, _k, _v, run, _: taken.append("run") or q[: run.length])
    attention_sdpa.attention(*states, packed(lengths), AttentionSpec(scale=SCALE))
    assert taken == (["padded"] if padded else ["run"] * runs)
