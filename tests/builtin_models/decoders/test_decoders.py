"""Llama, Mistral, Qwen, Phi-3 and Gemma: equal to transformers on random tiny weights, in any batch."""

import json
import re
from functools import partial

import numpy as np
import pytest
import torch
from model_kit import min_embedding_cosine
from safetensors.torch import load_file

from millpond import LLM, CheckpointError
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import change_config, random_prompts, relative_error, rewrite

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3", "Phi3", "Gemma", "Gemma2")
NAMES = tuple(f"{family}Model" for family in FAMILIES)
VOCABULARY = len(vocabulary("decoder"))
prompts_of = partial(random_prompts, VOCABULARY, first=4)
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FEW_LENGTHS = (1, 9, 40)
TOLERANCE = 1e-5  # relative to the largest value
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
YARN = {"factor": 4.0, "original_max_position_embeddings": 16}
SCALINGS = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "llama3": {"rope_type": "llama3", **LLAMA3},
    "yarn": {"rope_type": "yarn", **YARN},
    "yarn, other ramp": {"rope_type": "yarn", "beta_fast": 8, "beta_slow": 2, "truncate": False, **YARN},
    "yarn, attention_factor": {"rope_type": "yarn", "attention_factor": 1.5, **YARN},
    "yarn, mscale": {"rope_type": "yarn", "mscale": 0.7, "mscale_all_dim": 1.3, **YARN},
}


def noise(actual, expected):
    """Return the root mean square of the differences, relative to that of the expected values."""
    actual, expected = np.concatenate(actual), np.concatenate(expected)
    return float(np.sqrt(np.square(actual - expected).mean() / np.square(expected).mean()))


@pytest.fixture(scope="session")
def reference(transformers):
    """The hidden states of transformers; the weights are loaded strictly."""

    def reference(folder, prompts, *, dtype=torch.float32):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
        tensors = load_file(folder / "model.safetensors")
        tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if "lm_head" not in name}
        model = transformers.AutoModel.from_config(config, dtype=torch.float32)
        model.load_state_dict(tensors)
        model = model.eval().to(dtype)
        with torch.inference_mode():
            states = [model(torch.tensor([ids]), use_cache=False).last_hidden_state[0] for ids in prompts]
        return [rows.float().numpy() for rows in states]

    return reference


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
def test_the_shape_in_config_json_is_taken(tmp_path, equals_reference, shape):
    base = {"hidden_size": 30} if shape.get("num_attention_heads") == 6 else {}
    assert equals_reference(tiny("LlamaModel", tmp_path, **base, **shape), prompts_of(FEW_LENGTHS))


@pytest.mark.parametrize("name", ["Qwen3Model", "GemmaModel"])
def test_biases_of_attention_are_taken(tmp_path, equals_reference, name):
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


# --- which tokens are seen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_attention_is_causal_unless_is_causal_is_false(tmp_path, load, hidden, equals_reference, name):
    folder = tiny(name, tmp_path)
    first, second = prompts_of([20]), prompts_of([20])
    second[0][15] = 4 if first[0][15] != 4 else 5
    one, other = (hidden(load(folder), prompt)[0] for prompt in (first, second))
    np.testing.assert_array_equal(one[:15], other[:15])
    assert np.abs(one[15:] - other[15:]).max(axis=1).min() > 1e-3
    change_config(folder, {"is_causal": False})
    one, other = (hidden(load(folder), prompt)[0] for prompt in (first, second))
    assert np.abs(one - other).max(axis=1).min() > 1e-3
    assert equals_reference(folder, prompts_of(LENGTHS))


def test_an_override_selects_bidirectional_attention(tmp_path, load, hidden):
    prompts = prompts_of(FEW_LENGTHS)
    folder = tiny("Qwen2Model", tmp_path)
    actual = hidden(load(folder, hf_overrides={"is_causal": False}), prompts)
    assert relative_error(actual, hidden(load(folder), prompts)) > 0.1
    assert relative_error(actual, hidden(load(change_config(folder, {"is_causal": False})), prompts)) == 0


def test_gemma_has_a_separate_key_for_bidirectional_attention(tmp_path, load, hidden):
    prompts = prompts_of(FEW_LENGTHS)
    folder = tiny("GemmaModel", tmp_path)
    expected = hidden(load(folder, hf_overrides={"is_causal": False}), prompts)
    actual = hidden(load(folder, hf_overrides={"use_bidirectional_attention": True}), prompts)
    assert relative_error(actual, expected) == 0


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("MistralModel", {"sliding_window": 1}),
        ("MistralModel", {"sliding_window": 5}),
        ("MistralModel", {"sliding_window": 63}),
        ("MistralModel", {"sliding_window": 64}),
        ("Qwen2Model", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 0}),
        ("Qwen2Model", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
        ("Qwen2Model", {"use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"]}),
        ("Qwen3Model", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
    ],
    ids=str,
)
def test_a_window_that_is_shorter_than_the_text_equals_transformers(tmp_path, equals_reference, name, window, causal):
    assert equals_reference(tiny(name, tmp_path, is_causal=causal, **window), prompts_of(LENGTHS))


def test_windows_have_an_effect(tmp_path, load, hidden):
    prompts = prompts_of(FEW_LENGTHS)
    folder = tiny("Qwen2Model", tmp_path)
    config = {"use_sliding_window": True, "sliding_window": 7}
    states = [
        hidden(load(folder, hf_overrides={**config, "max_window_layers": layers}), prompts) for layers in (0, 1, 2)
    ]
    assert relative_error(states[0], states[1]) > 0.05
    assert relative_error(states[1], states[2]) > 0.05
    assert relative_error(states[2], hidden(load(folder), prompts)) == 0


def test_mistral_without_a_window_attends_to_all(tmp_path, load, hidden, equals_reference):
    prompts = prompts_of(FEW_LENGTHS)
    folder = change_config(tiny("MistralModel", tmp_path), {"sliding_window": None})
    assert equals_reference(folder, prompts)
    windowed = hidden(load(folder, hf_overrides={"sliding_window": 24}), prompts)
    assert relative_error(windowed, hidden(load(folder), prompts)) > 0.05


# --- rotary positions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize("spelling", ["rope_parameters", "rope_scaling", "type"])
def test_rotary_positions_equal_those_of_transformers(tmp_path, load, hidden, equals_reference, scaling, spelling):
    if spelling == "rope_parameters":
        settings = {"rope_theta": None, "rope_parameters": {**scaling, "rope_theta": 500.0}}
    else:
        named = {("type" if key == "rope_type" else key): value for key, value in scaling.items()}
        settings = {"rope_theta": 500.0, "rope_scaling": scaling if spelling == "rope_scaling" else named}
    folder = tiny("LlamaModel", tmp_path / "scaled", head_dim=16, **settings)
    prompts = prompts_of(FEW_LENGTHS)
    assert equals_reference(folder, prompts)
    plain = hidden(load(tiny("LlamaModel", tmp_path / "plain", head_dim=16, rope_theta=500.0)), prompts)
    same = scaling["rope_type"] == "dynamic"  # only texts beyond the training length have other positions
    assert (relative_error(hidden(load(folder), prompts), plain) == 0) is same


@pytest.mark.parametrize("theta", [100.0, 1000000.0])
@pytest.mark.parametrize("name", NAMES)
def test_the_base_of_the_frequencies_is_taken(tmp_path, load, hidden, equals_reference, name, theta):
    folder = tiny(name, tmp_path / "old", rope_theta=theta)
    prompts = prompts_of(FEW_LENGTHS)
    assert equals_reference(folder, prompts)
    new = {"rope_theta": None, "rope_parameters": {"rope_theta": theta, "rope_type": "default"}}
    folder_of_new = tiny(name, tmp_path / "new", **new)
    assert relative_error(hidden(load(folder_of_new), prompts), hidden(load(folder), prompts)) == 0
    assert relative_error(hidden(load(tiny(name, tmp_path / "base")), prompts), hidden(load(folder), prompts)) > 1e-3


def test_the_default_base_is_that_of_transformers(tmp_path, equals_reference):
    assert equals_reference(tiny("LlamaModel", tmp_path, rope_theta=None), prompts_of(FEW_LENGTHS))


def test_dynamic_frequencies_are_those_of_each_text_by_its_length(tmp_path, load, hidden, reference, monkeypatch):
    monkeypatch.setenv("MILLPOND_ALLOW_LONG_MAX_MODEL_LEN", "1")
    folder = tiny("LlamaModel", tmp_path, rope_scaling={"rope_type": "dynamic", "factor": 4.0})
    prompts = prompts_of((100, 64, 65, 20, 100, 128))
    llm = load(folder, max_model_len=128)
    expected = [reference(folder, [prompt])[0] for prompt in prompts]  # the model keeps state between calls
    assert relative_error(hidden(llm, prompts), expected) <= TOLERANCE
    assert relative_error([hidden(llm, prompt)[0] for prompt in prompts], expected) <= TOLERANCE


def test_scaling_may_be_added_by_an_override(tmp_path, load, hidden):
    prompts = prompts_of(FEW_LENGTHS)
    new = {"rope_theta": None, "rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}
    folder = tiny("LlamaModel", tmp_path / "plain", **new)
    scaled = tiny("LlamaModel", tmp_path / "scaled", rope_theta=500.0, rope_scaling=SCALINGS["yarn"])
    actual = hidden(load(folder, hf_overrides={"rope_scaling": SCALINGS["yarn"]}), prompts)
    assert relative_error(actual, hidden(load(scaled), prompts)) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rope_scaling": {"rope_type": "spiral"}}, "unknown rope_type 'spiral'. Available: default, linear, dynamic"),
        ({"rope_scaling": {"type": "su", "factor": 2.0}}, "rope_type 'su'"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "rope_type 'longrope'"),
        ({"rope_parameters": {"rope_type": ["yarn"]}}, "LlamaModel"),
        ({"rope_scaling": "linear"}, "LlamaModel"),
        ({"rope_scaling": {"rope_type": "linear"}}, "'linear' requires a number 'factor'; got None"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": "4"}}, "'yarn' requires a number 'factor'; got '4'"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": True}}, "'dynamic' requires a number 'factor'; got True"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "a number 'low_freq_factor'"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, "rope_parameters per layer type"),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor 0\.5"),
        ({"head_dim": 7}, "head dimension 7"),
        ({"rope_theta": "large"}, "LlamaModel"),
    ],
    ids=str,
)
def test_unknown_rope_types_are_refused(tmp_path, load, settings, message):
    folder = tiny("LlamaModel", tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load(change_config(folder, settings))


# --- 16 bits, 8 bits, and the same bits -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_near_transformers(tmp_path, load, hidden, reference, name):
    folder = tiny(name, tmp_path)
    prompts = prompts_of(LENGTHS)
    exact = reference(folder, prompts)
    actual = hidden(load(folder, dtype="bfloat16"), prompts)
    theirs = noise(reference(folder, prompts, dtype=torch.bfloat16), exact)
    assert 1e-3 < noise(actual, exact) <= 1.2 * theirs < 0.05


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_a_16_bit_checkpoint_is_computed_in_float32_without_loss(tmp_path, equals_reference, name, dtype):
    assert equals_reference(tiny(name, tmp_path, dtype=dtype), prompts_of(FEW_LENGTHS), dtype="float32")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("causal", [True, False])
def test_int8_is_near_float32(tmp_path, load, name, causal):
    folder = tiny(name, tmp_path, hidden_size=128, head_dim=32, intermediate_size=256, is_causal=causal)
    prompts = prompts_of(LENGTHS)
    assert (
        0.99 < min_embedding_cosine(load, folder, prompts, quantization="int8") < 1 - 1e-7
    )  # quantization has an effect


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{}, {"quantization": "int8"}, {"dtype": "bfloat16"}], ids=str)
@pytest.mark.parametrize("causal", [True, False])
def test_deterministic_gives_the_same_bits_in_every_batch(tmp_path, load, hidden, name, settings, causal):
    folder = tiny(name, tmp_path, is_causal=causal, intermediate_size=50)
    prompts = prompts_of(LENGTHS)
    large = load(folder, batch_invariant=True, **settings)
    together = hidden(large, prompts)
    assert all(np.array_equal(hidden(large, prompt)[0], rows) for prompt, rows in zip(prompts, together, strict=True))
    small = load(folder, batch_invariant=True, max_num_batched_tokens=40, max_num_seqs=3, **settings)
    assert all(map(np.array_equal, hidden(small, prompts), together))


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_pytorch_tanh", "relu"])
def test_deterministic_gives_the_same_bits_on_several_threads(tmp_path, hidden, activation):
    """A single long text is computed by all threads, which may split a row; other texts by one thread."""
    folder = tiny("LlamaModel", tmp_path, max_position_embeddings=2048, intermediate_size=90, hidden_act=activation)
    (long,) = prompts_of([1801])
    with (
        LLM(str(folder), batch_invariant=True, num_workers=2, max_num_batched_tokens=8192) as many,
        LLM(str(folder), batch_invariant=True, num_workers=1, max_num_batched_tokens=8192) as one,
    ):
        alone = hidden(many, long)[0]
        np.testing.assert_array_equal(alone, hidden(one, long)[0])
        np.testing.assert_array_equal(alone, hidden(many, [[5, 6, 7], long, [9] * 700])[1])


# --- names in the checkpoint ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_causal_language_model_has_the_same_hidden_states(tmp_path, load, hidden, equals_reference, family, tied):
    prompts = prompts_of(FEW_LENGTHS)
    folder = tiny(f"{family}ForCausalLM", tmp_path / "causal", tie_word_embeddings=tied)
    names = list(load_file(folder / "model.safetensors"))
    assert ("lm_head.weight" in names) is not tied
    assert sum(name.startswith("model.") for name in names) == len(names) - (not tied)
    assert equals_reference(folder, prompts)
    bare = tiny(f"{family}Model", tmp_path / "bare")
    assert relative_error(hidden(load(folder), prompts), hidden(load(bare), prompts)) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoints_saved_by_transformers_are_loaded(tmp_path, load, hidden, transformers, family):
    torch.manual_seed(4)
    model_class = getattr(transformers, f"{family}ForCausalLM")
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = model_class.config_class(
        vocab_size=50, intermediate_size=48, head_dim=8, max_position_embeddings=40, pad_token_id=0, **settings
    )
    model = model_class(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path)
    llm = load(tmp_path)
    assert llm.model_config.max_model_len == 40
    prompt = list(range(10, 48))
    with torch.inference_mode():
        expected = model.model(torch.tensor([prompt]), use_cache=False).last_hidden_state[0].numpy()
    assert relative_error(hidden(llm, prompt), [expected]) <= TOLERANCE


@pytest.mark.parametrize("name", ["LlamaModel", "Qwen3ForCausalLM"])
@pytest.mark.parametrize("shards", [2, 5])
def test_shards_change_nothing(tmp_path, load, hidden, name, shards):
    prompts = prompts_of(FEW_LENGTHS)
    folder = tiny(name, tmp_path / "sharded", shards=shards)
    assert len(list(folder.glob("*.safetensors"))) == shards
    assert relative_error(hidden(load(folder), prompts), hidden(load(tiny(name, tmp_path / "whole")), prompts)) == 0


def test_weights_of_other_heads_are_left_out(tmp_path, load, hidden):
    folder = tiny("LlamaModel", tmp_path, prefix="model.")
    prompts = prompts_of(FEW_LENGTHS)
    expected = hidden(load(folder), prompts)
    others = {
        "lm_head.weight": torch.ones(VOCABULARY, 32),
        "score.weight": torch.ones(2, 32),
        "score.bias": torch.ones(2),
        "model.rotary_emb.inv_freq": torch.ones(4),
        "model.layers.1.self_attn.rotary_emb.inv_freq": torch.ones(4),
    }
    rewrite(folder, lambda tensors: tensors | others)
    assert relative_error(hidden(load(folder), prompts), expected) == 0


@pytest.mark.parametrize(
    ("architecture", "name", "message"),
    [
        ("LlamaModel", "embed_tokens.weight", r"embed_tokens\.weight"),
        ("LlamaModel", "norm.weight", r"norm\.weight"),
        ("LlamaModel", "layers.1.self_attn.k_proj.weight", r"layers\.1\.attention\.qkv\.weight@1"),
        ("LlamaModel", "layers.0.mlp.up_proj.weight", r"layers\.0\.feed_forward\.gate_up\.weight@1"),
        ("Qwen2Model", "layers.0.self_attn.v_proj.bias", r"layers\.0\.attention\.qkv\.bias@2"),
        ("Qwen3Model", "layers.1.self_attn.q_norm.weight", r"layers\.1\.attention\.query_norm\.weight"),
        ("GemmaModel", "layers.0.input_layernorm.weight", r"layers\.0\.attention_norm\.weight"),
    ],
)
def test_a_missing_weight_is_named(tmp_path, load, architecture, name, message):
    folder = tiny(architecture, tmp_path)
    rewrite(folder, lambda tensors: {key: value for key, value in tensors.items() if key != name})
    with pytest.raises(CheckpointError, match=rf"architecture '{architecture}': missing \(1\): {message}$"):
        load(folder)


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("LlamaModel", "layers.2.mlp.up_proj.weight"),
        ("LlamaModel", "layers.0.self_attn.q_proj.bias"),
        ("LlamaModel", "layers.0.self_attn.q_norm.weight"),
        ("MistralModel", "layers.0.mlp.down_proj.bias"),
        ("Qwen2Model", "layers.0.self_attn.o_proj.bias"),
        ("GemmaModel", "layers.0.pre_feedforward_layernorm.weight"),
    ],
)
def test_an_extra_weight_is_named(tmp_path, load, architecture, name):
    folder = tiny(architecture, tmp_path)
    rewrite(folder, lambda tensors: tensors | {name: torch.ones(32)})
    with pytest.raises(CheckpointError, match=rf"unused \(1\): {re.escape(name)}$"):
        load(folder)


@pytest.mark.parametrize(
    ("architecture", "change", "message"),
    [
        ("LlamaModel", {"hidden_act": "laplace"}, "hidden_act 'laplace'.*gelu"),
        ("LlamaModel", {"num_attention_heads": 5}, "num_attention_heads 5"),
        ("LlamaModel", {"num_attention_heads": 0}, "num_attention_heads 0"),
        ("LlamaModel", {"num_key_value_heads": 3}, "num_key_value_heads 3"),
        ("LlamaModel", {"num_key_value_heads": 8}, "num_key_value_heads 8"),
        ("LlamaModel", {"num_key_value_heads": -2}, "num_key_value_heads -2"),
        ("LlamaModel", {"num_attention_heads": "four"}, "LlamaModel"),
        ("LlamaModel", {"num_key_value_heads": 4}, r"the checkpoint has \[16, 32\]"),
        ("Qwen3Model", {"head_dim": 8}, r"the checkpoint has \[16\], config\.json implies \[8\]"),
        ("LlamaModel", {"is_causal": "no"}, "is_causal must be true or false; got 'no'"),
        ("MistralModel", {"sliding_window": 0}, "sliding_window must be a positive number of tokens or null; got 0"),
        ("MistralModel", {"sliding_window": True}, "sliding_window must be .* got True"),
        (
            "Qwen2Model",
            {"use_sliding_window": True, "layer_types": ["full_attention"]},
            r"unknown layer_types\[1\] None",
        ),
        ("Qwen3Model", {"use_sliding_window": True, "layer_types": ["mamba"] * 2}, r"unknown layer_types\[0\] 'mamba'"),
        ("LlamaModel", {"rms_norm_eps": "small"}, "LlamaModel"),
        ("LlamaModel", {"attention_bias": True}, r"missing \(4\)"),
        ("LlamaModel", {"num_hidden_layers": 1}, r"unused \(9\)"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_a_checkpoint_error(tmp_path, load, architecture, change, message):
    folder = tiny(architecture, tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load(change_config(folder, change))


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
