"""Ministral 3: equal to transformers on random weights, causal and bidirectional, in any batch."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from millpond import LLM
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import random_prompts, relative_error
from millpond_models.decoders.ministral3.tiny import ROPE

NAME = "Ministral3Model"
LENGTHS = (1, 2, 3, 64, 5, 16, 17, 13, 1, 33, 47, 2, 64, 30, 7)  # length from which queries are scaled
TOLERANCE = 1e-5  # relative to the largest value
prompts_of = partial(random_prompts, len(vocabulary("decoder")), first=4)


@pytest.fixture
def reference(transformers):
    """The hidden states of transformers for each prompt; its class supports ``is_causal`` of config.json too."""

    def reference(folder, prompts):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
        model = transformers.Ministral3Model(config)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        with torch.inference_mode():
            return [model(torch.tensor([ids]), use_cache=False).last_hidden_state[0].numpy() for ids in prompts]

    return reference


@pytest.mark.parametrize("causal", [True, False])
def test_mixed_batches_and_single_prompts_equal_transformers(tmp_path, assert_equal_in_any_batch, reference, causal):
    folder = tiny(NAME, tmp_path, **({} if causal else {"is_causal": False}))
    prompts = prompts_of(LENGTHS)
    assert_equal_in_any_batch(folder, prompts, reference(folder, prompts))


@pytest.mark.parametrize("causal", [True, False])
def test_a_sliding_window_equals_transformers(tmp_path, assert_equal_in_any_batch, reference, causal):
    folder = tiny(NAME, tmp_path, sliding_window=9, is_causal=causal)
    prompts = prompts_of((3, 40, 64, 9, 10))
    assert_equal_in_any_batch(folder, prompts, reference(folder, prompts))


@pytest.mark.parametrize(
    "changes",
    [
        {"head_dim": 12},
        {"num_key_value_heads": 4},
        {"rope_parameters": {**ROPE, "mscale": 0.7, "mscale_all_dim": 1.3}},
        {"rope_parameters": {**ROPE, "llama_4_scaling_beta": 0.0}},
        {"rope_parameters": {**ROPE, "original_max_position_embeddings": 24, "truncate": False}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "original_max_position_embeddings": 20,
                             "llama_4_scaling_beta": 0.2}},
    ],
    ids=str,
)  # fmt: skip
def test_other_shapes_equal_transformers(tmp_path, load, hidden, reference, changes):
    folder = tiny(NAME, tmp_path, **changes)
    prompts = prompts_of((3, 40, 64))
    assert relative_error(hidden(load(folder), prompts), reference(folder, prompts)) <= TOLERANCE


def test_missing_keys_have_the_defaults_of_transformers(tmp_path, load, hidden, reference):
    folder = tiny(NAME, tmp_path, rope_parameters=None, rms_norm_eps=None, max_position_embeddings=128)
    prompts = prompts_of((3, 100))
    assert relative_error(hidden(load(folder), prompts), reference(folder, prompts)) <= TOLERANCE


def test_queries_are_scaled_only_in_long_texts(tmp_path, load, hidden):
    folder = tiny(NAME, tmp_path)
    prompts = prompts_of((16, 40))
    plain = {"rope_parameters": {"llama_4_scaling_beta": 0.0}}
    first, second = (hidden(load(folder, hf_overrides=it), prompts) for it in ({}, plain))
    assert relative_error(first[:1], second[:1]) <= TOLERANCE
    assert relative_error(first[1:], second[1:]) > 10 * TOLERANCE


@pytest.mark.parametrize("tied", [True, False])
def test_a_language_model_embeds_without_its_head(tmp_path, load, hidden, tied):
    backbone = tiny(NAME, tmp_path / "backbone")
    folder = tiny("Ministral3ForCausalLM", tmp_path / "causal", tie_word_embeddings=tied)
    prompts = prompts_of((3, 20))
    llm = load(folder)
    assert llm.model_config.tasks == ("embed", "token_embed")
    assert relative_error(hidden(llm, prompts), hidden(load(backbone), prompts)) <= TOLERANCE


def test_config_json_names_the_pooling_of_nemotron_3_embed(tmp_path, load):
    folder = tiny(NAME, tmp_path / "Nemotron-3-Embed-1B-BF16", is_causal=False, pooling="avg")
    with LLM(str(folder), num_workers=1) as llm:
        assert llm.model_config.pooler_config.seq_pooling_type == "MEAN"
        assert llm.model_config.identity.implementation == "native"
        (one, other) = llm.embed(["the old mill", "old mill the"], output="array")
    assert abs(one - other).max() > 1e-4
