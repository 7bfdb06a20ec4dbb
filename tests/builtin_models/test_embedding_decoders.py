"""Decoders made for embedding, and GPT-2: equal to transformers or to plain torch on random weights, in any batch."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from millpond import CheckpointError
from millpond.testing.checkpoints import DenseLayer, tiny, vocabulary, write_sentence_transformers

VOCABULARY = len(vocabulary("decoder"))
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
SHORT = (1, 9, 40)
TOLERANCE = 1e-5  # of the largest value
NAMES = ("Gemma3TextModel",)


def prompts_of(lengths, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(4, VOCABULARY, size=length).tolist() for length in lengths]


def error(found, expected):
    """The largest difference, in units of the largest value that is expected."""
    assert [rows.shape for rows in found] == [rows.shape for rows in expected]
    worst = max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True))
    return worst / max(float(np.abs(rows).max()) for rows in expected)


def change_config(folder, change):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def reference(transformers):
    """The hidden states of transformers' class for the ``model_type``; the weights are loaded strictly."""

    def reference(folder, prompts):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
        model = transformers.AutoModel.from_config(config, dtype=torch.float32)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        model.eval()
        with torch.inference_mode():
            return [model(torch.tensor([ids]), use_cache=False).last_hidden_state[0].numpy() for ids in prompts]

    return reference


# --- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("settings", [{}, {"quantization": "int8"}], ids=str)
def test_deterministic_gives_the_same_bits_in_every_batch(tmp_path, load, hidden, name, settings):
    prompts = prompts_of(LENGTHS)
    llm = load(tiny(name, tmp_path), deterministic=True, **settings)
    together = hidden(llm, prompts)
    assert all(np.array_equal(hidden(llm, prompt)[0], rows) for prompt, rows in zip(prompts, together, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_int8_is_near_float32(tmp_path, load, name):
    wide = {"n_embd": 128} if name == "GPT2Model" else {"hidden_size": 128, "head_dim": 32, "intermediate_size": 256}
    folder = tiny(name, tmp_path, **wide)
    prompts = prompts_of(LENGTHS)
    exact, found = (
        np.stack([output.outputs.array for output in llm.embed(prompts, use_tqdm=False)])
        for llm in (load(folder), load(folder, quantization="int8"))
    )
    cosines = (exact * found).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1)
    assert 0.99 < cosines.min() < 1 - 1e-7  # it is not computed in float32


# --- Gemma 3 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("window", [1, 2, 7, 24, 63])
def test_gemma3_equals_transformers(tmp_path, load, hidden, reference, both, window):
    folder = tiny("Gemma3TextModel", tmp_path, use_bidirectional_attention=both, sliding_window=window)
    prompts = prompts_of(LENGTHS)
    expected = reference(folder, prompts)
    llm = load(folder)
    assert error(hidden(llm, prompts), expected) <= TOLERANCE
    assert error([hidden(llm, prompt)[0] for prompt in prompts], expected) <= TOLERANCE


@pytest.mark.parametrize(
    "change",
    [
        {"layer_types": None, "sliding_window_pattern": 2},
        {"layer_types": None},
        {"layer_types": ["full_attention", "full_attention"]},
        {"query_pre_attn_scalar": 16},
        {"query_pre_attn_scalar": None},
        {"attention_bias": True},
        {"head_dim": 8, "num_key_value_heads": 1},
        {"rms_norm_eps": 0.1},
        {"rope_theta": None, "rope_local_base_freq": None},
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        {
            "rope_theta": None,
            "rope_local_base_freq": None,
            "rope_parameters": {
                "full_attention": {"rope_theta": 300.0, "rope_type": "linear", "factor": 2.0},
                "sliding_attention": {"rope_theta": 30.0, "rope_type": "default"},
            },
        },
        {"hidden_activation": "silu"},
    ],
    ids=str,
)
def test_gemma3_is_what_config_json_says(tmp_path, load, hidden, reference, change):
    prompts = prompts_of(SHORT)
    folder = tiny("Gemma3TextModel", tmp_path / "changed", **change)
    found = hidden(load(folder), prompts)
    assert error(found, reference(folder, prompts)) <= TOLERANCE
    base = hidden(load(tiny("Gemma3TextModel", tmp_path / "base")), prompts)
    same = change.get("sliding_window_pattern") == 2  # which is what the base says otherwise
    assert (error(found, base) <= TOLERANCE) is same


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types must say .* for each of 2 layers"),
        ({"layer_types": ["mamba", "full_attention"]}, "layer_types must say .* got .'mamba'"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar must be a positive number; got 0"),
        ({"sliding_window": 0}, "sliding_window must be a positive number of tokens or null; got 0"),
        ({"rope_scaling": {"rope_type": "spiral"}}, "rope_type 'spiral'"),
    ],
    ids=str,
)
def test_a_gemma3_that_does_not_fit_is_refused(tmp_path, load, change, said):
    folder = change_config(tiny("Gemma3TextModel", tmp_path, use_bidirectional_attention=False), change)
    with pytest.raises(CheckpointError, match=said):
        load(folder)


def test_embeddinggemma_is_the_mean_through_two_dense_maps(tmp_path, load, reference):
    folder = tiny("Gemma3TextModel", tmp_path)
    identity = "torch.nn.modules.linear.Identity"
    layers = [
        DenseLayer(in_features=32, out_features=96, bias=False, activation=identity),
        DenseLayer(in_features=96, out_features=32, bias=False, activation=identity),
    ]
    write_sentence_transformers(folder, dense=layers, pooling="mean")
    prompts = prompts_of(SHORT)
    maps = [load_file(folder / f"{number}_Dense" / "model.safetensors")["linear.weight"].numpy() for number in (2, 3)]
    expected = [rows.mean(axis=0) @ maps[0].T @ maps[1].T for rows in reference(folder, prompts)]
    found = load(folder).embed(prompts, use_tqdm=False)
    for output, row in zip(found, expected, strict=True):
        np.testing.assert_allclose(output.outputs.array, row / np.linalg.norm(row), rtol=0, atol=TOLERANCE)
