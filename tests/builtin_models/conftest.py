"""Fixtures for tests of models: hidden states from Millpond, and from transformers for the same files."""

import importlib
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from millpond import LLM, PoolingParams
from millpond.testing.comparisons import relative_error


@pytest.fixture
def hidden():
    """The hidden states of each prompt: ALL pooling without activation."""

    def hidden(llm: LLM, prompts) -> list[np.ndarray]:
        bare = PoolingParams(use_activation=False)
        outputs = llm.encode(prompts, pooling_task="token_embed", pooling_params=bare, use_tqdm=False)
        return [output.outputs.array for output in outputs]

    return hidden


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    """The module; imported only by tests that need it, because the import takes seconds."""
    return importlib.import_module("transformers")


@pytest.fixture(scope="session")
def reference(transformers):
    """The hidden states of transformers' class of the same name; the weights are loaded strictly, without prefixes."""

    def reference(folder, prompts, *, dtype=torch.float32) -> list[np.ndarray]:
        config = transformers.AutoConfig.from_pretrained(folder)
        (name,) = config.architectures
        model = getattr(transformers, name)(config, add_pooling_layer=False)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        model = model.eval().to(dtype)
        with torch.inference_mode():
            return [model(torch.tensor([ids])).last_hidden_state[0].float().numpy() for ids in prompts]

    return reference


@pytest.fixture
def equals_reference(load, hidden, reference):
    """Return a function that compares the hidden states of Millpond with those of ``reference``."""

    def equals_reference(folder, prompts, **settings) -> bool:
        return relative_error(hidden(load(folder, **settings), prompts), reference(folder, prompts)) <= 1e-5

    return equals_reference


@pytest.fixture
def assert_equal_in_any_batch(load, hidden):
    """Return a function that compares the hidden states in one batch, alone and in small batches with expected ones."""

    def assert_equal_in_any_batch(folder, prompts, expected, **settings) -> None:
        llm = load(folder, **settings)
        assert relative_error(hidden(llm, prompts), expected) <= 1e-5
        assert relative_error([hidden(llm, prompt)[0] for prompt in prompts], expected) <= 1e-5
        small = load(folder, max_num_batched_tokens=17, max_num_seqs=2, **settings)
        assert relative_error(hidden(small, prompts), expected) <= 1e-5

    return assert_equal_in_any_batch
