"""Encoders with ``is_decoder`` in config.json: causal attention, equal to transformers."""

from functools import partial

import pytest
import torch

from millpond import PoolingParams
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import random_prompts, relative_error

prompts_of = partial(random_prompts, len(vocabulary("bert")))
LENGTHS = (1, 2, 40, 7)


@pytest.mark.parametrize("name", ["BertModel", "ErnieModel", "RobertaModel", "XLMRobertaModel"])
@pytest.mark.parametrize("settings", [{}, {"batch_invariant": True}], ids=str)
def test_hidden_states_equal_those_of_transformers(tmp_path, load, hidden, reference, name, settings):
    folder = tiny(name, tmp_path, is_decoder=True)
    prompts = prompts_of(LENGTHS)
    actual = hidden(load(folder, **settings), prompts)
    assert relative_error(actual, reference(folder, prompts)) <= 1e-5
    both_ways = hidden(load(folder, hf_overrides={"is_decoder": False}), prompts)
    assert relative_error(both_ways, actual) > 1e-2


@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_logits_equal_those_of_transformers(tmp_path, load, transformers, family):
    folder = tiny(f"{family}ForSequenceClassification", tmp_path, is_decoder=True, num_labels=3)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    prompts = prompts_of(LENGTHS)
    with torch.inference_mode():
        expected = [model(torch.tensor([ids])).logits[0].numpy() for ids in prompts]
    outputs = load(folder).classify(prompts, pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    assert relative_error([output.outputs.array for output in outputs], expected) <= 1e-5


def test_int8_is_causal_too(tmp_path, load, hidden):
    folder = tiny("BertModel", tmp_path, is_decoder=True, hidden_size=128, intermediate_size=256)
    prompts = prompts_of(LENGTHS)
    exact, quantized = (hidden(load(folder, **settings), prompts) for settings in ({}, {"quantization": "int8"}))
    assert 0 < relative_error(quantized, exact) <= 0.1
