"""Attention: the reference against a loop over single scores, and cases that `test_conformance.py` lacks."""

import math

import pytest
import torch

from millpond.nn import NUM_ATTENDED, AttentionSpec, EqualLengthGroup, PackedBatch
from millpond_kernels import native
from millpond_kernels.attention import native as attention_native
from millpond_kernels.attention import reference as attention_reference
from millpond_kernels.attention import sdpa as attention_sdpa
from millpond_kernels.testing.attention import AttentionCases
from millpond_modeling.distance_bias import DistanceBias

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


def hiding(lengths, attended):
    ids = [torch.zeros(length, dtype=torch.long) for length in lengths]
    return PackedBatch.pack(ids, features=[{NUM_ATTENDED: number} for number in attended])


def random_states(lengths, *, heads=4, kv_heads=4, head_dim=5):
    generator = torch.Generator().manual_seed(0)
    tokens = sum(lengths)
    shapes = ((tokens, heads, head_dim), (tokens, kv_heads, head_dim), (tokens, kv_heads, head_dim))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def by_hand(query, key, value, lengths, spec, *, attended=None, added=lambda head, query, key: 0.0):
    """One score at a time, in double precision; a token's place in its sequence is what ``added`` gets."""
    output = torch.zeros(query.shape, dtype=torch.float64)
    shared = query.shape[1] // key.shape[1]
    start = 0
    for length, real in zip(lengths, attended or lengths, strict=True):
        for i in range(start, start + length):
            seen = [
                j
                for j in range(start, start + real)
                if not (spec.causal and j > i) and (spec.window is None or abs(i - j) <= spec.window)
            ]
            for head in range(query.shape[1]):
                k, v = key[:, head // shared].double(), value[:, head // shared].double()
                scores = [spec.scale * float(query[i, head].double() @ k[j]) for j in seen]
                if spec.softcap is not None:
                    scores = [spec.softcap * math.tanh(score / spec.softcap) for score in scores]
                weights = [math.exp(x + added(head, i - start, j - start)) for x, j in zip(scores, seen, strict=True)]
                if seen:
                    output[i, head] = sum(w * v[j] for w, j in zip(weights, seen, strict=True)) / sum(weights)
        start += length
    return output


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_yardstick_equals_a_loop_over_single_scores(spec):
    lengths = (1, 6, 3, 1)
    states = random_states(lengths, heads=4, kv_heads=2)
    actual = attention_reference.attention(*states, packed(lengths), spec)
    assert actual.shape == states[0].shape
    assert (actual - by_hand(*states, lengths, spec)).abs().max() <= 1e-6


@pytest.mark.parametrize("spec", [AttentionSpec(scale=1.5, softcap=0.8, causal=causal) for causal in (False, True)])
def test_the_yardstick_caps_scores_as_a_loop_does(spec):
    lengths = (1, 6, 3)
    states = random_states(lengths, heads=4, kv_heads=2)
    actual = attention_reference.attention(*states, packed(lengths), spec)
    assert (actual - by_hand(*states, lengths, spec)).abs().max() <= 1e-6


@pytest.mark.parametrize("spare", [0, 4])
def test_the_reference_adds_the_bias_of_each_distance(spare):
    """The middle column is for distance 0, independent of the size of the tensor."""
    lengths, spec = (2, 5, 1), AttentionSpec(scale=SCALE, bias="distance", softcap=2.0)
    states = random_states(lengths)
    middle = max(lengths) - 1 + spare
    values = torch.randn(4, 2 * middle + 1, generator=torch.Generator().manual_seed(2))
    actual = attention_reference.attention(*states, packed(lengths), spec, DistanceBias(values))
    expected = by_hand(*states, lengths, spec, added=lambda head, i, j: float(values[head, middle + j - i]))
    assert (actual - expected).abs().max() <= 1e-6


@pytest.mark.parametrize("spec", SPECS[:4] + SPECS[5:9], ids=str)
def test_the_yardstick_hides_the_last_tokens(spec):
    """Also where a window then holds none that may be seen."""
    lengths, attended = (6, 9, 1, 4), (2, 9, 1, 1)
    states = random_states(lengths)
    actual = attention_reference.attention(*states, hiding(lengths, attended), spec)
    assert (actual - by_hand(*states, lengths, spec, attended=attended)).abs().max() <= 1e-6


def test_tokens_can_be_hidden_but_not_all_of_them():
    with pytest.raises(ValueError, match="num_attended=0 for a sequence of 4 tokens: expected 1 to 4"):
        _ = hiding((3, 4), (3, 0)).num_masked
    assert hiding((3, 4), (3, 4)).num_masked == ()
    assert hiding((4, 4, 4), (3, 4, 4)).equal_length_groups == (EqualLengthGroup(0, 1, 4, 1), EqualLengthGroup(4, 2, 4))


@pytest.mark.parametrize("causal", [False, True])
def test_a_window_of_a_long_text_takes_no_square_of_it(monkeypatch, causal):
    seen = []

    def recorded(queries, keys, *rest):
        seen.append(len(queries) * len(keys))
        return attention_reference.attention_mask(queries, keys, *rest)

    monkeypatch.setattr(attention_sdpa, "attention_mask", recorded)
    lengths, spec = (1500,), AttentionSpec(scale=SCALE, window=40, causal=causal)
    states = random_states(lengths, heads=1, kv_heads=1)
    actual = attention_sdpa.attention(*states, packed(lengths), spec)
    assert sum(seen) <= 1500 * (attention_sdpa.WINDOW_ROWS + 2 * 40)
    assert (actual - attention_reference.attention(*states, packed(lengths), spec)).abs().max() <= 1e-5


def test_results_do_not_depend_on_the_number_of_queries_at_a_time(monkeypatch):
    """As very long texts are computed."""
    monkeypatch.setattr(attention_sdpa, "MAX_SCORES", 500)
    monkeypatch.setattr(attention_sdpa, "WINDOW_ROWS", 2)
    cases, generator = AttentionCases(), torch.Generator().manual_seed(3)
    for setting in cases.settings():
        tensors = cases.tensors(sum(LENGTHS), 16, setting, generator)
        actual, expected = (
            cases.call(kernel, tensors, LENGTHS, setting)
            for kernel in (attention_sdpa.attention, attention_reference.attention)
        )
        assert (actual - expected).abs().max() <= 1e-5, setting


@pytest.mark.skipif(not native.is_available(), reason="needs the compiled kernels")
@pytest.mark.parametrize("shape", ["fits", "too short", "of other heads"])
def test_compiled_code_adds_biases_however_long_a_text_is(monkeypatch, shape):
    """Longer sequences than without a bias; torch refuses a bias that is too small."""
    lengths, attended, spec = (1100, 7), (900, 7), AttentionSpec(scale=SCALE, bias="distance")
    states = random_states(lengths, heads=2, kv_heads=1, head_dim=16)
    columns = {"too short": 2 * 1099 - 1}.get(shape, 2 * 1101 - 1)
    values = torch.randn(1 if shape == "of other heads" else 2, columns, generator=torch.Generator().manual_seed(4))
    batch, bias = hiding(lengths, attended), DistanceBias(values)
    if shape == "too short":
        with pytest.raises(RuntimeError):
            attention_native.attention(*states, batch, spec, bias)
        return
    if shape == "fits":
        monkeypatch.setattr(attention_native, "attend_group", None)  # which is not called
    actual = attention_native.attention(*states, batch, spec, bias)
    assert (actual - attention_reference.attention(*states, batch, spec, bias)).abs().max() <= 1e-5


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
    actual = backend(*views, batch, spec)
    assert torch.allclose(actual, expected, atol=1e-6)
    assert torch.equal(fused, before)
    assert actual.is_contiguous()


@pytest.mark.parametrize(("groups", "device", "padded"), [(16, "meta", False), (17, "meta", True), (17, "cpu", False)])
def test_many_groups_are_padded_only_on_accelerators(monkeypatch, groups, device, padded):
    """The meta device substitutes for an accelerator: it computes nothing."""
    lengths = tuple(range(1, groups + 1))
    states = [tensor.to(device) for tensor in random_states(lengths)]
    taken = []
    monkeypatch.setattr(attention_sdpa, "_attend_padded", lambda *_: taken.append("padded"))
    monkeypatch.setattr(
        attention_sdpa, "attend_group", lambda q, _k, _v, group, *_: taken.append("group") or q[: group.length]
    )
    attention_sdpa.attention(*states, packed(lengths), AttentionSpec(scale=SCALE))
    assert taken == (["padded"] if padded else ["group"] * groups)


@pytest.mark.parametrize(
    ("spec", "dtype", "device", "is_shared"),
    [
        (AttentionSpec(scale=SCALE, causal=True), torch.bfloat16, "meta", True),
        (AttentionSpec(scale=SCALE, causal=True), torch.float32, "meta", False),
        (AttentionSpec(scale=SCALE, causal=True), torch.float32, "cpu", True),
        (AttentionSpec(scale=SCALE, causal=True, window=3), torch.bfloat16, "meta", False),
        (AttentionSpec(scale=SCALE, causal=True, window=3), torch.bfloat16, "cpu", True),
    ],
)
def test_shared_heads_are_repeated_where_torch_would_use_its_slow_kernel(monkeypatch, spec, dtype, device, is_shared):
    calls = []

    def recorded(query, key, value, *, enable_gqa, **options):
        calls.append((key.shape[1], value.shape[1], enable_gqa))
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, enable_gqa=enable_gqa, **options)

    monkeypatch.setattr(attention_sdpa, "scaled_dot_product_attention", recorded)
    states = (x.to(device, dtype) for x in random_states((7, 7), kv_heads=2))
    output = attention_sdpa.attention(*states, packed((7, 7)), spec)
    assert output.shape == (14, 4, 5)
    assert set(calls) == {(2, 2, True) if is_shared else (4, 4, False)}


def test_repeated_heads_compute_what_shared_heads_compute():
    query, key, value = (x.unsqueeze(0).transpose(1, 2) for x in random_states((7,), kv_heads=2))
    shared = attention_sdpa._call(query, key, value, scale=SCALE)  # noqa: SLF001
    key, value = (x.repeat_interleave(2, dim=1) for x in (key, value))
    torch.testing.assert_close(attention_sdpa._call(query, key, value, scale=SCALE), shared)  # noqa: SLF001
