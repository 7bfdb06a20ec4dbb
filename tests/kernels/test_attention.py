"""Attention backends: the yardstick against a loop over single scores, every other backend against the yardstick."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.nn import AttentionSpec, PackedBatch
from millpond_kernels import attention_reference, attention_sdpa

SCALE = 0.35
HEADS = ((1, 1), (4, 4), (4, 2), (6, 1), (6, 3))
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


@pytest.fixture(params=["runs", "padded"])
def sdpa(request, monkeypatch):
    """The backend on its way over runs of equal length, and on the one that accelerators take for many runs."""
    if request.param == "padded":
        return attention_sdpa._attend_padded  # noqa: SLF001  else only a GPU would take it
    monkeypatch.setattr(attention_sdpa, "_attend_padded", None)  # so that this way cannot be taken unseen
    return attention_sdpa.attention


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
def test_sdpa_equals_the_yardstick(sdpa, heads, kv_heads, spec):
    batch = packed(LENGTHS)
    states = random_states(LENGTHS, heads=heads, kv_heads=kv_heads)
    found = sdpa(*states, batch, spec)
    assert found.shape == states[0].shape
    assert torch.isfinite(found).all()
    assert (found - attention_reference.attention(*states, batch, spec)).abs().max() <= 1e-5


@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    heads=st.sampled_from(HEADS),
    head_dim=st.integers(1, 16),
    causal=st.booleans(),
    window=st.none() | st.integers(0, 25),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_sdpa_equals_the_yardstick_on_random_shapes(lengths, heads, head_dim, causal, window, seed):
    spec = AttentionSpec(scale=head_dim**-0.5, causal=causal, window=window)
    states = random_states(lengths, heads=heads[0], kv_heads=heads[1], head_dim=head_dim, seed=seed)
    batch = packed(lengths)
    expected = attention_reference.attention(*states, batch, spec)
    for backend in (attention_sdpa.attention, attention_sdpa._attend_padded):  # noqa: SLF001
        assert (backend(*states, batch, spec) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_states_keep_their_dtype(sdpa, dtype):
    batch, spec = packed(LENGTHS), AttentionSpec(scale=SCALE)
    states = random_states(LENGTHS, dtype=dtype)
    expected = attention_reference.attention(*states, batch, spec)
    found = sdpa(*states, batch, spec)
    assert found.dtype == expected.dtype == dtype
    assert (found.float() - expected.float()).abs().max() <= 3e-2


@pytest.mark.parametrize("backend", [attention_reference.attention, attention_sdpa.attention])
def test_a_single_token_attends_to_itself(backend):
    query, key, value = random_states((1,))
    spec = AttentionSpec(scale=SCALE, causal=True, window=0)
    assert torch.allclose(backend(query, key, value, packed((1,)), spec), value, atol=1e-6)


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[7]], ids=str)
def test_sequences_do_not_see_each_other(sdpa, spec):
    lengths = (3, 9, 9, 1)
    states = random_states(lengths)
    expected = sdpa(*states, packed(lengths), spec)
    for tensor in states:
        tensor[3:12] = 1e4  # the second sequence alone
    found = sdpa(*states, packed(lengths), spec)
    assert torch.allclose(found[:3], expected[:3], atol=1e-6)
    assert torch.allclose(found[12:], expected[12:], atol=1e-6)
    assert not torch.allclose(found[3:12], expected[3:12])


def test_states_may_be_views_of_a_fused_map(sdpa):
    """As BERT hands them over: every third block of one tensor."""
    batch, spec = packed(LENGTHS), AttentionSpec(scale=SCALE)
    fused = torch.randn(sum(LENGTHS), 3, 4, 5, generator=torch.Generator().manual_seed(1))
    before = fused.clone()
    views = fused.unbind(1)
    assert not views[1].is_contiguous()
    expected = sdpa(*(view.clone() for view in views), batch, spec)
    found = sdpa(*views, batch, spec)
    assert torch.equal(found, expected)
    assert torch.equal(fused, before)
    assert found.is_contiguous()


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
