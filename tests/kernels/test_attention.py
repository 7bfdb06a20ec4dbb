"""Attention: the yardstick against a loop over single scores, and what `test_conformance.py` leaves to be asked."""

import math

import pytest
import torch

from millpond.nn import AttentionSpec, PackedBatch
from millpond_kernels import attention_native, attention_reference, attention_sdpa, native

SCALE = 0.35
LENGTHS = (1, 7, 7, 2, 1, 1, 33, 5)
SPECS = [
    AttentionSpec(scale=SCALE, causal=causal, window=window)
    for causal in (False, True)
    for window in (None, 0, 1, 3, 99)
]
BACKENDS = {
    "reference": attention_reference.attention,
    "sdpa": attention_sdpa.attention,
    "sdpa, padded": attention_sdpa._attend_padded,  # noqa: SLF001
    **({"native": attention_native.attention} if native.is_available() else {}),
}


@pytest.fixture(params=BACKENDS)
def backend(request):
    return BACKENDS[request.param]


def packed(lengths):
    return PackedBatch.pack([torch.zeros(length, dtype=torch.long) for length in lengths])


def random_states(lengths, *, heads=4, kv_heads=4, head_dim=5):
    generator = torch.Generator().manual_seed(0)
    tokens = sum(lengths)
    shapes = ((tokens, heads, head_dim), (tokens, kv_heads, head_dim), (tokens, kv_heads, head_dim))
    return [torch.randn(shape, generator=generator) for shape in shapes]


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


def test_a_single_token_attends_to_itself(backend):
    query, key, value = random_states((1,), head_dim=16)
    for spec in (AttentionSpec(scale=SCALE), AttentionSpec(scale=SCALE, causal=True, window=0)):
        assert torch.allclose(backend(query, key, value, packed((1,)), spec), value, atol=1e-6)


@pytest.mark.parametrize("head_dim", [16, 32, 64])
def test_long_sequences_share_heads_too(backend, head_dim):
    """Some backends hand sequences over to another beyond a length: 64 and 256 tokens are such lengths."""
    lengths = (63, 64, 65, 128, 128, 255, 256, 257, 400)
    spec = AttentionSpec(scale=head_dim**-0.5)
    states = random_states(lengths, heads=4, kv_heads=2, head_dim=head_dim)
    batch = packed(lengths)
    difference = backend(*states, batch, spec) - attention_reference.attention(*states, batch, spec)
    assert difference.abs().max() <= 1e-5


@pytest.mark.parametrize("head_dim", [5, 16])
def test_states_may_be_views_of_a_fused_map(backend, head_dim):
    """As BERT hands them over: every third block of one tensor."""
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
