"""Encoders of Jina, Nomic and GTE in transformers' layout: run natively, and equal to its classes."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from model_kit import min_embedding_cosine

from millpond import CheckpointError, PoolingParams
from millpond.testing.checkpoints import vocabulary, write_tokenizer
from millpond.testing.comparisons import random_prompts, relative_error

BASE_CONFIG = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
VOCABULARY = len(vocabulary("roberta"))
prompts_of = partial(random_prompts, VOCABULARY)
SIZES = {**BASE_CONFIG, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "num_labels": 3}
FAMILIES = ("JinaEmbeddingsV3", "NomicBert", "Gte")
LENGTHS = (1, 64, 5, 63, 1, 21, 2, 64)
LONG_LENGTH = 300  # tokens, more than max_position_embeddings
FEW_LENGTHS = (1, 9, 40)


@pytest.fixture(scope="session")
def written(transformers):
    """Write and return a model of transformers with random parameters."""

    def written(folder, family="JinaEmbeddingsV3", head="Model", *, published=True, **settings):
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(**{**SIZES, **settings})
        model = getattr(transformers, f"{family}{head}")(config).eval()
        for name, parameter in model.named_parameters():
            around = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            parameter.data.normal_(around, 0.3)
        model.save_pretrained(folder, save_original_format=published)
        return model

    return written


@pytest.fixture(scope="session")
def states():
    """Return the hidden states of each prompt alone."""

    def states(model, prompts):
        with torch.inference_mode():
            return [model(torch.tensor([ids])).last_hidden_state[0].numpy() for ids in prompts]

    return states


@pytest.fixture(scope="session")
def logits():
    """Return the logits of each prompt alone."""

    def logits(model, prompts):
        with torch.inference_mode():
            return [model(torch.tensor([ids])).logits[0].numpy() for ids in prompts]

    return logits


@pytest.mark.parametrize("published", [True, False], ids=["published names", "own names"])
@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_equal_those_of_transformers(tmp_path, load, hidden, written, states, family, published):
    model = written(tmp_path, family, published=published)
    prompts = prompts_of(LENGTHS)
    expected = states(model, prompts)
    llm = load(tmp_path)
    assert llm.model_config.identity.implementation == "native"
    assert llm.model_config.max_model_len == 64
    assert relative_error(hidden(llm, prompts), expected) <= 1e-5
    assert relative_error([hidden(llm, prompt)[0] for prompt in prompts], expected) <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_longer_than_max_position_embeddings(tmp_path, load, hidden, written, states, monkeypatch, family):
    model = written(tmp_path, family)
    prompts = prompts_of((LONG_LENGTH, 3, 70))
    monkeypatch.setenv("MILLPOND_ALLOW_LONG_MAX_MODEL_LEN", "1")
    assert relative_error(hidden(load(tmp_path, max_model_len=LONG_LENGTH), prompts), states(model, prompts)) <= 1e-5


@pytest.mark.parametrize("published", [True, False], ids=["published names", "own names"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForTokenClassification"])
def test_logits_equal_those_of_transformers(tmp_path, load, written, logits, family, head, published):
    model = written(tmp_path, family, head, published=published)
    prompts = prompts_of(LENGTHS)
    task = "classify" if "Sequence" in head else "token_classify"
    llm = load(tmp_path)
    assert llm.model_config.identity.implementation == "native"
    bare = PoolingParams(use_activation=False)
    outputs = llm.encode(prompts, pooling_task=task, pooling_params=bare, use_tqdm=False)
    assert relative_error([output.outputs.array for output in outputs], logits(model, prompts)) <= 1e-5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("published", [True, False], ids=["published names", "own names"])
def test_a_masked_language_model_embeds_as_its_backbone(tmp_path, load, hidden, written, states, family, published):
    model = written(tmp_path, family, "ForMaskedLM", published=published)
    prompts = prompts_of(FEW_LENGTHS)
    assert relative_error(hidden(load(tmp_path), prompts), states(model.base_model, prompts)) <= 1e-5


def test_splade_of_a_masked_language_model(tmp_path, load, written, logits):
    model = written(tmp_path, head="ForMaskedLM")
    prompts = prompts_of(FEW_LENGTHS)
    llm = load(tmp_path, pooler_config={"pooling_type": "SPLADE_MAX"})
    actual = [output.outputs.array for output in llm.embed(prompts, use_tqdm=False)]
    expected = [np.log1p(np.maximum(rows, 0)).max(axis=0) for rows in logits(model, prompts)]
    assert relative_error(actual, expected) <= 1e-5


@pytest.mark.parametrize(
    "settings",
    [
        {"head_dim": 6},
        {"num_attention_heads": 2, "intermediate_size": 7, "num_hidden_layers": 3},
        {"layer_norm_eps": 0.1},
        {"type_vocab_size": 2},
        {"hidden_act": "relu"},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}},
        {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}},
    ],
    ids=str,
)
def test_config_json_is_followed(tmp_path, load, hidden, written, states, settings):
    model = written(tmp_path, **settings)
    prompts = prompts_of(FEW_LENGTHS)
    assert relative_error(hidden(load(tmp_path), prompts), states(model, prompts)) <= 1e-5


@pytest.mark.parametrize("head_dim", [6, 16])
@pytest.mark.parametrize("family", FAMILIES)
def test_head_dim_may_differ_from_the_default(tmp_path, load, hidden, written, states, family, head_dim):
    model = written(tmp_path, family, head_dim=head_dim)
    prompts = prompts_of(FEW_LENGTHS)
    assert relative_error(hidden(load(tmp_path), prompts), states(model, prompts)) <= 1e-5


def test_keys_missing_from_config_json(tmp_path, load, hidden, written, states):
    model = written(tmp_path)
    path = tmp_path / "config.json"
    kept = {"architectures", "model_type", *SIZES}
    settings = {key: value for key, value in json.loads(path.read_text(encoding="utf-8")).items() if key in kept}
    path.write_text(json.dumps(settings), encoding="utf-8")
    prompts = prompts_of(FEW_LENGTHS)
    assert relative_error(hidden(load(tmp_path), prompts), states(model, prompts)) <= 1e-5


def test_texts_are_pooled_by_their_mean(tmp_path, load, hidden, written):
    written(tmp_path)
    write_tokenizer(tmp_path, "roberta")
    llm = load(tmp_path)
    text = "the old mill by the pond"
    mean = hidden(llm, [text])[0].mean(axis=0)
    (output,) = llm.embed([text], use_tqdm=False)
    np.testing.assert_allclose(output.outputs.array, mean / np.linalg.norm(mean), rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"quantization": "int8"}], ids=str)
def test_other_precisions_are_close_but_not_equal(tmp_path, load, written, settings):
    written(tmp_path, hidden_size=128, intermediate_size=256)
    prompts = prompts_of(LENGTHS)
    assert 0.99 < min_embedding_cosine(load, tmp_path, prompts, **settings) < 1 - 1e-7


def test_an_additional_tensor_is_named(tmp_path, load, written):
    written(tmp_path, published=False, num_hidden_layers=3)
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, "num_hidden_layers": 2}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"unused \(16\): layers\.2\."):
        load(tmp_path)
