"""Decoders: causal and bidirectional attention, and sliding windows."""

import numpy as np
import pytest
from decoder_kit import FEW_LENGTHS, LENGTHS, NAMES, prompts_of

from millpond.testing.checkpoints import tiny
from millpond.testing.comparisons import change_config, relative_error


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
