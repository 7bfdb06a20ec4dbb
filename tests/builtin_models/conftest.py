"""Fixtures for tests of models: hidden states from Millpond, and from transformers for the same files."""

import importlib
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from millpond import LLM, PoolingParams


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
