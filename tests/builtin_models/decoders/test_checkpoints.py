"""Decoders: names of weights in checkpoints, shards, and files that do not fit."""

import re

import pytest
import torch
from decoder_kit import FAMILIES, FEW_LENGTHS, TOLERANCE, VOCABULARY, prompts_of
from safetensors.torch import load_file

from millpond import CheckpointError
from millpond.testing.checkpoints import tiny
from millpond.testing.comparisons import change_config, relative_error, rewrite


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
        ("LlamaModel", {"num_attention_heads": 0}, "num_attention_heads=0; expected an integer"),
        ("LlamaModel", {"num_key_value_heads": 3}, "num_key_value_heads 3"),
        ("LlamaModel", {"num_key_value_heads": 8}, "num_key_value_heads 8"),
        ("LlamaModel", {"num_key_value_heads": -2}, "num_key_value_heads=-2; expected an integer"),
        ("LlamaModel", {"num_attention_heads": "four"}, "num_attention_heads='four'; expected an integer"),
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
