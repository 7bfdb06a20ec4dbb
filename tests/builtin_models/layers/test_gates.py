"""Gated feed-forward networks, rotary embeddings and RMSNorm: compiled kernels are equal to torch."""

import numpy as np
import pytest
import torch

from millpond import UnknownNameError
from millpond.testing.checkpoints import tiny
from millpond.testing.comparisons import relative_error
from millpond_kernels import native
from millpond_kernels.feed_forward.reference import GatedFeedForwardReference
from millpond_models.layers.gated_feed_forward import GatedFeedForward

PLAIN = {"linear": "torch", "gated": "torch", "rotary": "torch", "rms_norm": "torch", "attention": "reference"}
MODELS = ("GteModel", "NomicBertModel", "ModernBertModel", "LlamaModel", "Qwen3Model", "GemmaModel", "JinaBertModel")
compiled = pytest.mark.skipif(not native.is_available(), reason="needs the kernels compiled for this processor")


@pytest.fixture
def prompts():
    random = np.random.default_rng(5)
    return [random.integers(5, 100, size=length).tolist() for length in (1, 9, 40, 40, 64)]


def halves(llm):
    """Return the gated feed-forward networks of a model."""
    modules = [module for module in llm._loaded.model.modules() if isinstance(module, GatedFeedForward)]  # noqa: SLF001
    assert modules
    return modules


@compiled
@pytest.mark.parametrize("inner", [192, 40])
@pytest.mark.parametrize("name", MODELS)
def test_compiled_kernels_equal_torch(tmp_path, load, hidden, prompts, name, inner):
    """Both layers are one kernel call if the inner size is a multiple of the panel size, else separate calls."""
    folder = tiny(name, tmp_path, **{"n_inner" if name.startswith("Nomic") else "intermediate_size": inner})
    llm, plain = load(folder), load(folder, kernels=PLAIN)
    assert relative_error(hidden(llm, prompts), hidden(plain, prompts)) <= 1e-5
    assert {half.kernel.linears is None for half in halves(llm)} == {inner == 40}
    assert {type(half.kernel) for half in halves(plain)} == {GatedFeedForwardReference}


@compiled
def test_biases_are_added_once(tmp_path, load, hidden, prompts):
    folder = tiny("LlamaModel", tmp_path, intermediate_size=64, mlp_bias=True)
    llm = load(folder)
    assert relative_error(hidden(llm, prompts), hidden(load(folder, kernels=PLAIN), prompts)) <= 1e-5
    assert {half.down.bias is None for half in halves(llm)} == {False}


@compiled
@pytest.mark.parametrize("name", ["GteModel", "LlamaModel"])
def test_fused_int8_is_as_close_as_separate_calls(tmp_path, load, hidden, prompts, name):
    folder = tiny(name, tmp_path, intermediate_size=192)
    plain = hidden(load(folder, kernels=PLAIN), prompts)
    llm, apart = load(folder, quantization="int8"), load(folder, quantization="int8", kernels={"gated": "torch"})
    assert relative_error(hidden(llm, prompts), hidden(apart, prompts)) <= 0.02
    assert relative_error(hidden(llm, prompts), plain) <= max(2 * relative_error(hidden(apart, prompts), plain), 0.02)
    assert None not in {half.kernel.linears for half in halves(llm)}
    assert {type(half.kernel) for half in halves(apart)} == {GatedFeedForwardReference}


@pytest.mark.parametrize("activation", ["silu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "swish", "gelu"])
@pytest.mark.parametrize("settings", [{}, {"kernels": PLAIN}, {"batch_invariant": True, "kernels": {"gated": "exp"}}])
def test_every_activation_that_config_json_may_name_is_known(tmp_path, load, activation, settings):
    folder = tiny("LlamaModel", tmp_path, intermediate_size=64, hidden_act=activation)
    (half, *_) = halves(load(folder, **settings))
    x = torch.randn(70, 32, generator=torch.Generator().manual_seed(1))
    gate, up = half.gate_up(x).chunk(2, dim=-1)
    bent = {
        "silu": lambda: gate * gate.sigmoid(),
        "gelu": lambda: gate * torch.special.ndtr(gate),
        "gelu_new": lambda: gate / 2 * (1 + ((2 / torch.pi) ** 0.5 * (gate + 0.044715 * gate**3)).tanh()),
        "quick_gelu": lambda: gate * (1.702 * gate).sigmoid(),
        "relu": lambda: gate.clamp(min=0),
    }
    formula = bent[{"swish": "silu", "gelu_pytorch_tanh": "gelu_new"}.get(activation, activation)]
    torch.testing.assert_close(half(x), half.down(formula() * up), atol=1e-5, rtol=1e-5)


IN_TORCH = {"linear": "tiles", "attention": "reference", "gated": "exp", "rotary": "torch", "rms_norm": "torch"}


@pytest.mark.parametrize("activation", ["silu", "gelu_pytorch_tanh"])
@pytest.mark.parametrize(
    "settings", [{}, {"kernels": IN_TORCH}, {"quantization": "int8"}], ids=["own", "torch", "int8"]
)
def test_bits_do_not_depend_on_batch_mates(tmp_path, load, hidden, prompts, settings, activation):
    folder = tiny("LlamaModel", tmp_path, intermediate_size=192, hidden_act=activation)
    llm = load(folder, batch_invariant=True, **settings)
    for prompt, together in zip(prompts, hidden(llm, prompts), strict=True):
        np.testing.assert_array_equal(hidden(llm, [prompt])[0], together)


def test_a_gate_that_is_not_batch_invariant_is_refused_for_batch_invariance(tmp_path, load):
    with pytest.raises(UnknownNameError, match=r"gated\.torch is not batch-invariant"):
        load(tiny("LlamaModel", tmp_path), batch_invariant=True, kernels={"gated": "torch"})
