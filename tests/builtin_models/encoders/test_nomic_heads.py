"""Nomic's BERT with a classifier in the published layout: BERT's head on the hidden states of the backbone."""

from functools import partial

import numpy as np
from safetensors.torch import load_file, save_file

from millpond import PoolingParams
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import random_prompts, relative_error

prompts_of = partial(random_prompts, len(vocabulary("bert")))
LENGTHS = (1, 2, 40, 7, 64)
BARE = PoolingParams(use_activation=False)


def backbone_states(load, hidden, folder, prompts):
    """The hidden states of the backbone, which other tests verify, and the tensors of the classifier."""
    tensors = load_file(folder / "model.safetensors")
    alone = tiny("NomicBertModel", folder / "alone")
    bare = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
    save_file({name: bare[name] for name in load_file(alone / "model.safetensors")}, alone / "model.safetensors")
    return hidden(load(alone), prompts), {name: tensor.numpy() for name, tensor in tensors.items()}


def test_classes_of_texts(tmp_path, load, hidden):
    folder = tiny("NomicBertForSequenceClassification", tmp_path, num_labels=3)
    prompts = prompts_of(LENGTHS)
    states, tensors = backbone_states(load, hidden, folder, prompts)
    dense, bias = tensors["bert.pooler.dense.weight"], tensors["bert.pooler.dense.bias"]
    expected = [
        np.tanh(rows[0] @ dense.T + bias) @ tensors["classifier.weight"].T + tensors["classifier.bias"]
        for rows in states
    ]
    outputs = load(folder).classify(prompts, pooling_params=BARE, use_tqdm=False)
    assert relative_error([output.outputs.array for output in outputs], expected) <= 1e-5


def test_classes_of_tokens(tmp_path, load, hidden):
    folder = tiny("NomicBertForTokenClassification", tmp_path, num_labels=3)
    prompts = prompts_of(LENGTHS)
    states, tensors = backbone_states(load, hidden, folder, prompts)
    expected = [rows @ tensors["classifier.weight"].T + tensors["classifier.bias"] for rows in states]
    outputs = load(folder).encode(prompts, pooling_task="token_classify", pooling_params=BARE, use_tqdm=False)
    assert relative_error([output.outputs.array for output in outputs], expected) <= 1e-5
