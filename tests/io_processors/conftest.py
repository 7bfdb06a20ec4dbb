"""Fixtures of the tests of IO processors: tiny checkpoints, models that are closed when the test ends, references."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from millpond import LLM
from millpond.testing.checkpoints import tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A tiny BERT that no test changes."""
    return tiny("BertModel", tmp_path_factory.mktemp("tiny") / "bert")


@pytest.fixture(scope="session")
def tiny_bert(tiny_folder) -> Iterator[LLM]:
    """The same, loaded with MEAN pooling."""
    with LLM(str(tiny_folder), num_workers=1, pooler_config={"pooling_type": "MEAN"}) as llm:
        yield llm


@pytest.fixture(scope="session")
def hidden_states(tiny_folder):
    """The hidden states of token ids, [num_tokens, 32], as transformers computes them for the tiny BERT."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    model = transformers.BertModel.from_pretrained(str(tiny_folder), add_pooling_layer=False).eval()

    def hidden_states(ids):
        with torch.no_grad():
            return model(torch.tensor([list(ids)])).last_hidden_state[0].numpy()

    return hidden_states
