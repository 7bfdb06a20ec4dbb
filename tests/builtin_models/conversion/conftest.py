"""What the tests of converters share: prompts with steps in them, what a task finds, and the logits of transformers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from millpond import PoolingParams
from millpond.loading.arguments import read_arguments
from millpond.loading.build import load_model
from millpond.testing.checkpoints import vocabulary

WORDS = vocabulary("decoder")
TAG = WORDS["so"]
RAW = PoolingParams(use_activation=False)


def prompts_of(lengths, seed=0):
    """Prompts of words, some of them the tag of a step."""
    random = np.random.default_rng(seed)
    return [
        [TAG if random.random() < 0.2 else int(i) for i in random.integers(4, len(WORDS), size=length)]
        for length in lengths
    ]


def found(llm, prompts, task, params=RAW):
    """What a model gives for each prompt; without parameters of its own, before the activation."""
    return [output.outputs.array for output in llm.encode(prompts, params, pooling_task=task, use_tqdm=False)]


def worst(one, other):
    """The largest difference, in units of the largest value where that is above 1."""
    assert [rows.shape for rows in one] == [rows.shape for rows in other]
    scale = max(1.0, *(float(np.abs(rows).max(initial=0)) for rows in other))
    return max(float(np.abs(a - b).max(initial=0)) for a, b in zip(one, other, strict=True)) / scale


def softmax(rows):
    """Of each row, in float64."""
    return torch.softmax(torch.from_numpy(np.asarray(rows)).double(), dim=-1).numpy()


def model_of(folder, **settings):
    """The module that a folder is loaded as."""
    return load_model(str(folder), read_arguments(settings)).model


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """What stands above, for test modules cannot import it."""
    return SimpleNamespace(prompts_of=prompts_of, found=found, worst=worst, softmax=softmax, model_of=model_of)


@pytest.fixture(scope="session")
def logits(transformers):
    """The logits of transformers' class of the same name in float32, as [length, classes] or [classes]."""

    def logits(folder, prompts):
        config = transformers.AutoConfig.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
        model = getattr(transformers, config.architectures[0])(config).eval()
        tensors = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        lost = model.load_state_dict(tensors, strict=False)
        assert not lost.unexpected_keys
        assert set(lost.missing_keys) <= {"lm_head.weight"}
        model.tie_weights()
        with torch.inference_mode():
            return [model(torch.tensor([ids])).logits[0].numpy() for ids in prompts]

    return logits
