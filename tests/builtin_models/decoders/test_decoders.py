"""Decoders (Llama, Mistral, Qwen, Phi-3, Gemma): the same results as transformers."""

import json
from functools import partial

import numpy as np
import pytest
from decoder_kit import FAMILIES, FEW_LENGTHS, LENGTHS, NAMES, TOLERANCE, prompts_of

from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import relative_error

# --- equal to transformers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_mixed_lengths_equals_transformers(tmp_path, assert_equal_in_any_batch, reference, name):
    folder = tiny(name, tmp_path)
    prompts = prompts_of(LENGTHS)
    assert_equal_in_any_batch(folder, prompts, reference(folder, prompts))


@pytest.mark.parametrize(
    "shape",
    [
        {"num_key_value_heads": 4},
        {"num_key_value_heads": None},
        {"num_key_value_heads": 1},
        {"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 10},
        {"num_hidden_layers": 1},
        {"num_hidden_layers": 3, "intermediate_size": 7},
        {"rms_norm_eps": 0.1},
        {"tie_word_embeddings": True},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"attention_bias": True, "mlp_bias": True, "head_dim": 4},
    ],
    ids=str,
)
def test_the_shape_in_config_json_is_used(tmp_path, equals_reference, shape):
    base = {"hidden_size": 30} if shape.get("num_attention_heads") == 6 else {}
    assert equals_reference(tiny("LlamaModel", tmp_path, **base, **shape), prompts_of(FEW_LENGTHS))


@pytest.mark.parametrize("name", ["Qwen3Model", "GemmaModel"])
def test_biases_of_attention_are_used(tmp_path, equals_reference, name):
    assert equals_reference(tiny(name, tmp_path, attention_bias=True), prompts_of(FEW_LENGTHS))


ACTIVATIONS = (
    *("gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"),
    *("quick_gelu", "relu", "relu6", "leaky_relu", "mish", "sigmoid", "silu", "swish", "tanh"),
)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("deterministic", [False, True])
def test_hidden_activation_equals_that_of_transformers(tmp_path, equals_reference, activation, deterministic):
    folder = tiny("LlamaModel", tmp_path, hidden_act=activation)
    assert equals_reference(folder, prompts_of(FEW_LENGTHS), batch_invariant=deterministic)


def test_gelu_in_config_json_of_gemma_is_the_tanh_approximation(tmp_path, equals_reference):
    assert equals_reference(tiny("GemmaModel", tmp_path, hidden_act="gelu"), prompts_of(FEW_LENGTHS))


@pytest.mark.parametrize(("name", "size"), [("Qwen3Model", 128), ("GemmaModel", 256)])
def test_the_default_head_dim_is_that_of_the_family(tmp_path, equals_reference, name, size):
    folder = tiny(name, tmp_path, head_dim=size)
    config = json.loads((folder / "config.json").read_text())
    del config["head_dim"]
    (folder / "config.json").write_text(json.dumps(config))
    assert equals_reference(folder, prompts_of(FEW_LENGTHS))


@pytest.mark.parametrize("kernel", ["native", "sdpa", "reference"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("head_dim", [64, 128, 256])
def test_every_kernel_of_attention_takes_shared_heads_of_usual_sizes(
    tmp_path, load, hidden, reference, kernel, causal, head_dim
):
    if kernel == "native" and not pytest.importorskip("millpond_kernels.native").is_available():
        pytest.skip("needs the kernels compiled for this processor")
    folder = tiny("Qwen3Model", tmp_path, head_dim=head_dim, is_causal=causal, max_position_embeddings=512)
    prompts = prompts_of((1, 300, 17, 17, 65))
    llm = load(folder, kernels={"attention": kernel})
    assert relative_error(hidden(llm, prompts), reference(folder, prompts)) <= TOLERANCE


# --- what is served -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [f"{family}{suffix}" for family in FAMILIES for suffix in ("Model", "ForCausalLM")])
def test_the_last_token_is_pooled_by_default(tmp_path, load, hidden, name):
    llm = load(tiny(name, tmp_path))
    assert llm.model_config.pooler_config.seq_pooling_type == "LAST"
    text = "the old mill by the pond"
    (output,) = llm.embed([text], use_tqdm=False)
    rows = hidden(llm, [text])[0]
    special = partial(vocabulary("decoder").__getitem__)
    assert output.prompt_token_ids[0] == special("<s>")
    assert output.prompt_token_ids[-1] == special("</s>")
    np.testing.assert_allclose(output.outputs.array, rows[-1] / np.linalg.norm(rows[-1]), rtol=0, atol=1e-6)
