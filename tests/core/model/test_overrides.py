"""hf_overrides: a dict or a function of config.json."""

import numpy as np
import pytest

from millpond import LLM, CheckpointError, InvalidInputError


def test_overrides_are_a_dict_or_a_function_of_the_config(checkpoint, load, expected, vector):
    by_dict = load(checkpoint, hf_overrides={"hidden_act": "relu", "nested": {"a": {"b": 1}}})
    assert by_dict.model_config.hf_config.nested.a.b == 1
    assert np.abs(vector(by_dict) - expected).max() > 1e-3
    seen = []

    def override(config):
        seen.append((config.hidden_act, config["hidden_size"]))
        return {"hidden_act": "relu"}

    assert np.array_equal(vector(load(checkpoint, hf_overrides=override)), vector(by_dict))
    assert seen == [("gelu", 32)]
    assert np.array_equal(vector(load(checkpoint, hf_overrides=lambda config: config)), expected)
    whole = load(checkpoint, hf_overrides=lambda config: {**config.to_dict(), "hidden_act": "relu"})
    assert np.array_equal(vector(whole), vector(by_dict))


def test_nested_overrides_leave_the_rest_of_the_object(checkpoint, load, change):
    change(checkpoint, extra={"a": 1, "b": {"c": 2, "d": 3}})
    config = load(checkpoint, hf_overrides={"extra": {"b": {"c": 9}}}).model_config.hf_config
    assert config.extra.to_dict() == {"a": 1, "b": {"c": 9, "d": 3}}


def test_the_error_for_a_function_that_sets_fields_states_the_fix(checkpoint):
    def override(config):
        config.hidden_act = "relu"
        return config

    with pytest.raises(AttributeError, match=r"read-only here: return \{'hidden_act': 'relu'\}"):
        LLM(str(checkpoint), hf_overrides=override)


@pytest.mark.parametrize("overrides", ["x", 5, [("hidden_act", "relu")], lambda _: None, lambda _: "relu"])
def test_overrides_of_another_form_are_refused(checkpoint, overrides):
    with pytest.raises(InvalidInputError, match="hf_overrides must be a dict, or a function that returns one; got "):
        LLM(str(checkpoint), hf_overrides=overrides)


def test_overrides_that_the_weights_do_not_fit_are_refused(checkpoint):
    with pytest.raises(CheckpointError, match=r"checkpoint has \[64, 32\], config\.json implies \[128, 32\]"):
        LLM(str(checkpoint), hf_overrides={"max_position_embeddings": 128})
