"""Helpers for tests of models: outputs of a task as arrays, differences between arrays, prompts and modules."""

import numpy as np
import torch

from millpond import PoolingParams
from millpond.loading.arguments import read_arguments
from millpond.loading.build import load_model
from millpond.testing.checkpoints import vocabulary

RAW = PoolingParams(use_activation=False)
DECODER_VOCABULARY = vocabulary("decoder")
STEP_TAG_ID = DECODER_VOCABULARY["so"]


def step_prompts(lengths, seed=0):
    """Return random prompts for a decoder that contain the tag of a step."""
    random = np.random.default_rng(seed)
    return [
        [STEP_TAG_ID if random.random() < 0.2 else int(i) for i in random.integers(4, len(DECODER_VOCABULARY), size=n)]
        for n in lengths
    ]


def run_task(llm, prompts, task, params=RAW):
    """Run a task and return the output of each prompt, by default without activation."""
    return [output.outputs.array for output in llm.encode(prompts, params, pooling_task=task, use_tqdm=False)]


def max_difference(actual, expected):
    """Return the largest absolute difference between arrays of equal shapes."""
    assert [rows.shape for rows in actual] == [rows.shape for rows in expected]
    return max(float(np.abs(a - b).max(initial=0)) for a, b in zip(actual, expected, strict=True))


def difference(actual, expected):
    """Return the largest absolute difference, relative to the largest expected value if that is above 1."""
    return max_difference(actual, expected) / max(1.0, *(float(np.abs(rows).max(initial=0)) for rows in expected))


def min_embedding_cosine(load, folder, prompts, **settings):
    """Return the smallest cosine similarity between embeddings computed without and with some settings of the model."""
    exact, changed = (
        np.stack([output.outputs.array for output in load(folder, **options).embed(prompts, use_tqdm=False)])
        for options in ({}, settings)
    )
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(changed, axis=1)
    return float(((exact * changed).sum(axis=1) / norms).min())


def softmax(rows):
    """Return the softmax of each row, computed in float64."""
    return torch.softmax(torch.from_numpy(np.asarray(rows)).double(), dim=-1).numpy()


def load_module(folder, **settings):
    """Return the model in a folder as a module."""
    return load_model(str(folder), read_arguments(settings)).model
