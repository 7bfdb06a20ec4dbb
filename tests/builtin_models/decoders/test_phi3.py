"""Phi-3's rotary embeddings, for texts of all lengths and for a part of a head: equal to transformers."""

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from millpond import CheckpointError
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import relative_error

TOLERANCE = 1e-5  # relative to the largest value
LONGEST, TRAINED = 64, 30
SHORT_FACTOR, LONG_FACTOR = [1.0, 1.1, 1.3, 1.7], [1.2, 2.0, 3.5, 6.0]
FACTORS = {"short_factor": SHORT_FACTOR, "long_factor": LONG_FACTOR}
TRAINED_FOR = {"original_max_position_embeddings": TRAINED, "sliding_window": None}
LENGTHS = (TRAINED + 1, 1, TRAINED, LONGEST, 7, TRAINED + 1, 50)


@pytest.fixture(scope="module")
def prompts():
    random = np.random.default_rng(0)
    return [random.integers(4, len(vocabulary("decoder")), size=length).tolist() for length in LENGTHS]


def reference(folder, prompts):
    """Return the hidden states of transformers for each prompt alone."""
    config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager")
    model = transformers.Phi3Model(config)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.eval()
    with torch.inference_mode():
        return [model(torch.tensor([ids]), use_cache=False).last_hidden_state[0].numpy() for ids in prompts]


@pytest.mark.parametrize(
    "settings",
    [
        {"rope_scaling": {"type": "longrope", **FACTORS}},
        {"rope_scaling": {"rope_type": "longrope", "factor": 7.0, **FACTORS}},
        {"rope_scaling": {"rope_type": "longrope", "factor": 0.5, **FACTORS}},
        {"rope_scaling": {"rope_type": "longrope", "attention_factor": 1.6, **FACTORS}},
        {"rope_parameters": {"rope_type": "longrope", "rope_theta": 300.0, **FACTORS}, "rope_theta": None},
        {"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 40, **FACTORS}},
    ],
    ids=str,
)
def test_each_text_has_the_factors_for_its_length(tmp_path, load, hidden, prompts, settings):
    folder = tiny("Phi3Model", tmp_path, **TRAINED_FOR, **settings)
    expected = reference(folder, prompts)
    llm = load(folder)
    assert relative_error(hidden(llm, prompts), expected) <= TOLERANCE
    assert relative_error([hidden(llm, prompt)[0] for prompt in prompts], expected) <= TOLERANCE


def test_the_older_name_means_the_same(tmp_path, load, hidden, prompts):
    one, other = (
        hidden(load(tiny("Phi3Model", tmp_path / name, **TRAINED_FOR, rope_scaling={"type": name, **FACTORS})), prompts)
        for name in ("su", "longrope")
    )
    assert relative_error(one, other) == 0


def test_long_texts_have_other_factors_than_short_ones(tmp_path, load, hidden, prompts):
    short = {"rope_scaling": {"type": "longrope", "short_factor": SHORT_FACTOR, "long_factor": SHORT_FACTOR}}
    both = {"rope_scaling": {"type": "longrope", **FACTORS}}
    one, other = (
        hidden(load(tiny("Phi3Model", tmp_path / name, **TRAINED_FOR, **settings)), prompts)
        for name, settings in (("short", short), ("both", both))
    )
    for length, rows, others in zip(LENGTHS, one, other, strict=True):
        assert (relative_error([rows], [others]) > 1e-3) is (length > TRAINED)


@pytest.mark.parametrize(
    "scaling", [None, {"type": "longrope", "short_factor": SHORT_FACTOR[:2], "long_factor": LONG_FACTOR[:2]}]
)
def test_partial_rotary_factor_rotates_a_part_of_each_head(tmp_path, load, hidden, prompts, scaling):
    settings = {"partial_rotary_factor": 0.5, "num_key_value_heads": 2, "sliding_window": 9, "rope_scaling": scaling}
    folder = tiny("Phi3Model", tmp_path, original_max_position_embeddings=TRAINED, **settings)
    assert relative_error(hidden(load(folder), prompts), reference(folder, prompts)) <= TOLERANCE


def test_missing_keys_have_the_defaults_of_transformers(tmp_path, load, hidden, prompts):
    unsaid = dict.fromkeys(("rms_norm_eps", "rope_theta", "num_key_value_heads", "sliding_window", "hidden_act"))
    folder = tiny("Phi3Model", tmp_path, **unsaid)
    assert relative_error(hidden(load(folder), prompts), reference(folder, prompts)) <= TOLERANCE


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"rope_scaling": {"type": "longrope", "long_factor": LONG_FACTOR}},
            r"requires 4 numbers 'short_factor'; got None",
        ),
        (
            {"rope_scaling": {"type": "su", "short_factor": SHORT_FACTOR, "long_factor": LONG_FACTOR[:2]}},
            "requires 4 numbers 'long_f",
        ),
        (
            {"rope_scaling": {"type": "su", "short_factor": ["1"] * 4, "long_factor": LONG_FACTOR}},
            "numbers 'short_factor'",
        ),
        ({"partial_rotary_factor": 0.4}, r"partial_rotary_factor 0\.4 of head dimension 8 .* got 3"),
        ({"rope_scaling": {"type": "spiral"}}, "rope_type 'spiral'"),
    ],
    ids=str,
)
def test_unknown_rope_types_are_refused(tmp_path, load, settings, message):
    with pytest.raises(CheckpointError, match=message):
        load(tiny("Phi3Model", tmp_path, **settings))
