"""Gemma 2: soft-capped scores and alternating sliding windows, equal to transformers."""

import json
from functools import partial

import pytest
import torch
from model_kit import min_embedding_cosine
from safetensors.torch import load_file

from millpond import CheckpointError, UnknownNameError
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import random_prompts, relative_error

VOCABULARY = len(vocabulary("decoder"))
prompts_of = partial(random_prompts, VOCABULARY, first=4)
LENGTHS = (1, 2, 64, 5, 8, 63, 1, 34, 24, 25, 26, 64)
TOLERANCE = 1e-5  # relative to the largest value


@pytest.fixture(scope="session")
def reference(transformers):
    """The hidden states of transformers; the weights are loaded strictly."""

    def reference(folder, prompts):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
        model = transformers.AutoModel.from_config(config, dtype=torch.float32)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        model.eval()
        with torch.inference_mode():
            return [model(torch.tensor([ids]), use_cache=False).last_hidden_state[0].numpy() for ids in prompts]

    return reference


@pytest.mark.parametrize(
    "change",
    [
        {"attn_logit_softcapping": 0.2},
        {"attn_logit_softcapping": 50.0},
        {"sliding_window": 1},
        {"sliding_window": 63},
        {"query_pre_attn_scalar": 3},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"num_hidden_layers": 3},
        {"attention_bias": True},
        {"num_key_value_heads": 1, "head_dim": 8},
        {"rope_theta": 100.0},
        {"rms_norm_eps": 0.1},
    ],
    ids=str,
)
def test_gemma2_follows_config_json(tmp_path, load, hidden, reference, change):
    prompts = prompts_of(LENGTHS)
    folder = tiny("Gemma2Model", tmp_path / "changed", **change)
    expected = reference(folder, prompts)
    assert relative_error(hidden(load(folder), prompts), expected) <= TOLERANCE
    if "num_hidden_layers" not in change:
        base = hidden(load(tiny("Gemma2Model", tmp_path / "base")), prompts)
        assert relative_error(base, expected) > TOLERANCE


def test_scores_without_a_cap(tmp_path, load, hidden, reference):
    folder = tiny("Gemma2Model", tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "attn_logit_softcapping": None}), encoding="utf-8")
    prompts = prompts_of(LENGTHS)
    assert relative_error(hidden(load(folder), prompts), reference(folder, prompts)) <= TOLERANCE


def test_the_default_softcap_is_50(tmp_path, load, hidden):
    prompts = prompts_of(LENGTHS)
    default, stated = (
        hidden(load(tiny("Gemma2Model", tmp_path / str(cap), attn_logit_softcapping=cap)), prompts)
        for cap in (None, 50.0)
    )
    assert relative_error(default, stated) == 0


@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"quantization": "int8"}], ids=str)
def test_lower_precision_is_near(tmp_path, load, settings):
    folder = tiny("Gemma2Model", tmp_path, hidden_size=128, head_dim=32, intermediate_size=256)
    prompts = prompts_of(LENGTHS)
    cosine = min_embedding_cosine(load, folder, prompts, **settings)
    assert 0.999 < cosine < 1 - 1e-7 if "dtype" in settings else 0.99 < cosine < 1 - 1e-7


def test_all_attention_kernels_with_softcap_are_equal(tmp_path, load, hidden):
    folder, prompts = tiny("Gemma2Model", tmp_path), prompts_of(LENGTHS)
    by_default = hidden(load(folder), prompts)
    assert relative_error(hidden(load(folder, kernels={"attention": "reference"}), prompts), by_default) <= TOLERANCE
    with pytest.raises(UnknownNameError, match=r"attention\.native.*with softcap.*attention\.native does not support"):
        load(folder, kernels={"attention": "native"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attn_logit_softcapping": -1}, "attn_logit_softcapping must be a positive number; got -1"),
        ({"layer_types": ["full_attention"]}, "layer_types must have .* for each of 2 layers"),
        ({"query_pre_attn_scalar": True}, "query_pre_attn_scalar must be a positive number; got True"),
        ({"sliding_window": 0}, "sliding_window must be a positive number of tokens or null; got 0"),
    ],
    ids=str,
)
def test_a_gemma2_that_does_not_fit_is_refused(tmp_path, load, change, message):
    with pytest.raises(CheckpointError, match=message):
        load(tiny("Gemma2Model", tmp_path, **change))
