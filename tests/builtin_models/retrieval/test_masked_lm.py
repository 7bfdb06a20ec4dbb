"""Masked language models with their head: the distribution over the vocabulary for each token."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from millpond import CheckpointError, PoolingParams
from millpond.testing.checkpoints import tiny, write_sentence_transformers, write_weights

PROMPTS = [[2, 160, 98, 3], [5], [7, 8, 9, 10, 11]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny("BertForMaskedLM", tmp_path_factory.mktemp("masked") / "model")


@pytest.fixture(scope="module")
def logits(folder):
    """The logits of transformers for each prompt."""
    transformers = pytest.importorskip("transformers")
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        return [model(torch.tensor([prompt])).logits[0] for prompt in PROMPTS]


def test_each_token_has_the_probabilities_of_the_vocabulary(folder, load, logits):
    llm = load(folder)
    assert llm.model_config.tasks == ("embed", "token_embed", "token_classify")
    outputs = llm.encode(PROMPTS, pooling_task="token_classify", use_tqdm=False)
    for output, expected in zip(outputs, logits, strict=True):
        np.testing.assert_allclose(output.outputs.data, expected.softmax(dim=-1), atol=1e-5)
    raw = llm.encode(PROMPTS, PoolingParams(use_activation=False), pooling_task="token_classify", use_tqdm=False)
    for output, expected in zip(raw, logits, strict=True):
        np.testing.assert_allclose(output.outputs.data, expected, atol=1e-4)


def test_the_first_layout_of_bert_is_read(folder, tmp_path, load, logits):
    """Like google-bert/bert-base-uncased: gamma and beta, a next-sentence head, and a tied decoder."""
    tensors = load_file(folder / "model.safetensors")
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in tensors.items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): tensor for name, tensor in old.items()}
    old.pop("cls.predictions.decoder.weight", None)
    old["cls.seq_relationship.weight"] = torch.ones(2, 32)
    old["cls.seq_relationship.bias"] = torch.ones(2)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write_weights(tmp_path, old)
    outputs = load(tmp_path).encode(PROMPTS, pooling_task="token_classify", use_tqdm=False)
    for output, expected in zip(outputs, logits, strict=True):
        np.testing.assert_allclose(output.outputs.data, expected.softmax(dim=-1), atol=1e-5)


def test_a_specified_pooling_type_supports_only_embeddings(folder, tmp_path, load):
    assert load(folder, pooler_config={"pooling_type": "MEAN"}).model_config.tasks == ("embed", "token_embed")
    assert load(folder, convert="embed").model_config.tasks == ("embed", "token_embed")
    assert "token_classify" in load(folder, pooler_config={"task": "token_classify"}).model_config.tasks
    published = tiny("BertForMaskedLM", tmp_path)
    write_sentence_transformers(published)
    assert load(published).model_config.tasks == ("embed", "token_embed")


def test_vectors_are_those_of_the_model_without_the_head(folder, load):
    kept, plain = load(folder), load(folder, convert="embed")
    for task in ("embed", "token_embed"):
        both = [llm.encode(PROMPTS, pooling_task=task, use_tqdm=False) for llm in (kept, plain)]
        assert [one.outputs for one in both[0]] == [one.outputs for one in both[1]]


def test_a_checkpoint_without_the_head_is_refused_with_a_solution(folder, tmp_path, load):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    tensors = load_file(folder / "model.safetensors")
    write_weights(tmp_path, {name: tensor for name, tensor in tensors.items() if not name.startswith("cls.")})
    with pytest.raises(CheckpointError, match="no masked language modelling head: pass convert='embed'"):
        load(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    assert load(tmp_path, convert="embed").embed("a", use_tqdm=False)
