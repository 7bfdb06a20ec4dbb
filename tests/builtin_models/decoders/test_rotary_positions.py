"""Decoders: bases and scalings of rotary positions."""

import pytest
from decoder_kit import FEW_LENGTHS, NAMES, TOLERANCE, prompts_of

from millpond import CheckpointError
from millpond.testing.checkpoints import tiny
from millpond.testing.comparisons import change_config, relative_error

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
def test_rope_theta_is_used(tmp_path, load, hidden, equals_reference, name, theta):
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
