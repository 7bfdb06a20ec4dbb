"""MPNet: equal to transformers on random tiny weights, in batches of mixed lengths and alone."""

from functools import partial

import numpy as np
import pytest
import torch
from model_kit import min_embedding_cosine
from safetensors.torch import load_file

from millpond import LLM, CheckpointError, PoolingParams
from millpond.testing.checkpoints import (
    random_tensors,
    tiny,
    vocabulary,
    write_sentence_transformers,
    write_weights,
)
from millpond.testing.comparisons import random_prompts, relative_error

VOCABULARY = len(vocabulary("roberta"))
prompts_of = partial(random_prompts, VOCABULARY)
LENGTHS = (1, 2, 64, 5, 8, 63, 1, 34, 24, 16, 17, 64, 33)
LONG_LENGTHS = (200, 129, 1, 128, 90, 127, 3)  # around the distance from which all share a bucket
TOLERANCE = 1e-5  # relative to the largest value
NAMES = ("MPNetModel", "MPNetForSequenceClassification", "MPNetForTokenClassification")


@pytest.fixture(scope="session")
def states(transformers):
    """The output of transformers' class of the architecture; the weights are loaded strictly."""

    def states(folder, prompts):
        config = transformers.AutoConfig.from_pretrained(folder)
        (name,) = config.architectures
        settings = {"add_pooling_layer": False} if name == "MPNetModel" else {}
        model = getattr(transformers, name)(config, **settings)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        model.eval()
        with torch.inference_mode():
            return [model(torch.tensor([ids]))[0][0].numpy() for ids in prompts]

    return states


def logits(llm: LLM, prompts, task):
    bare = PoolingParams(use_activation=False)
    return [out.outputs.array for out in llm.encode(prompts, pooling_task=task, pooling_params=bare, use_tqdm=False)]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"num_attention_heads": 1},
        {"num_attention_heads": 2, "hidden_act": "relu"},
        {"layer_norm_eps": 0.1},
        {"num_hidden_layers": 3},
        {"pad_token_id": 0},
        {"pad_token_id": 4, "max_position_embeddings": 70},
    ],
    ids=str,
)
@pytest.mark.parametrize("kernels", [{}, {"attention": "sdpa"}, {"attention": "reference"}], ids=str)
def test_a_batch_of_mixed_lengths_equals_transformers(tmp_path, load, hidden, states, change, kernels):
    folder = tiny("MPNetModel", tmp_path, **change)
    prompts = prompts_of(LENGTHS)
    expected = states(folder, prompts)
    llm = load(folder, kernels=kernels)
    assert relative_error(hidden(llm, prompts), expected) <= TOLERANCE
    if not kernels:
        assert relative_error([hidden(llm, prompt)[0] for prompt in prompts], expected) <= TOLERANCE


def test_far_distances_share_buckets(tmp_path, load, hidden, states):
    folder = tiny("MPNetModel", tmp_path, max_position_embeddings=202, seed=3)
    write_sentence_transformers(folder, max_seq_length=200)
    prompts = prompts_of(LONG_LENGTHS)
    assert relative_error(hidden(load(folder), prompts), states(folder, prompts)) <= TOLERANCE


def test_the_mean_of_tokens_equals_sentence_transformers(tmp_path, load, states):
    """Pooled and normalized like all-mpnet-base-v2."""
    folder = write_and_pool(tmp_path)
    prompts = prompts_of(LENGTHS)
    means = np.stack([rows.mean(axis=0) for rows in states(folder, prompts)])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    actual = np.stack([output.outputs.array for output in load(folder).embed(prompts, use_tqdm=False)])
    assert np.abs(actual - expected).max() <= TOLERANCE


def write_and_pool(path, **settings):
    folder = tiny("MPNetModel", path, **settings)
    write_sentence_transformers(folder, pooling="mean", size=settings.get("hidden_size", 32))
    return folder


@pytest.mark.parametrize("name", NAMES[1:])
def test_classes_are_those_of_transformers(tmp_path, load, states, name):
    folder = tiny(name, tmp_path, num_labels=3)
    prompts = prompts_of(LENGTHS)
    task = "classify" if name.endswith("SequenceClassification") else "token_classify"
    llm = load(folder)
    expected = states(folder, prompts)
    assert relative_error(logits(llm, prompts, task), expected) <= TOLERANCE
    assert relative_error([logits(llm, prompt, task)[0] for prompt in prompts], expected) <= TOLERANCE


@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"quantization": "int8"}], ids=str)
def test_lower_precision_is_near(tmp_path, load, settings):
    folder = write_and_pool(tmp_path, hidden_size=128, intermediate_size=256)
    prompts = prompts_of(LENGTHS)
    least = 0.999 if "dtype" in settings else 0.99
    assert least < min_embedding_cosine(load, folder, prompts, **settings) < 1 - 1e-7


def test_additional_tensors_are_ignored(tmp_path, load, hidden):
    """all-mpnet-base-v2 contains an unused pooler and a position buffer."""
    folder = tiny("MPNetModel", tmp_path)
    prompts = prompts_of((3, 20))
    before = hidden(load(folder), prompts)
    more = random_tensors({"pooler.dense.weight": (32, 32), "pooler.dense.bias": (32,)})
    more["embeddings.position_ids"] = torch.arange(66).unsqueeze(0)
    write_weights(folder, load_file(folder / "model.safetensors") | more)
    assert relative_error(hidden(load(folder), prompts), before) == 0


def test_other_buckets_are_refused(tmp_path, load):
    with pytest.raises(CheckpointError, match="unsupported relative_attention_num_buckets 16"):
        load(tiny("MPNetModel", tmp_path, relative_attention_num_buckets=16))
