"""Fixtures of every test: MiniLM and sentence-transformers, loaded once a session; tiny checkpoints. A pytest plugin.

Imports nothing heavy: a session whose tests need no model starts without torch.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from millpond import LLM

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(scope="session")
def minilm() -> Iterator["LLM"]:
    """The real all-MiniLM-L6-v2, from the package that contains it."""
    from millpond import LLM

    with LLM(MINILM) as llm:
        yield llm


@pytest.fixture(scope="session")
def sentence_transformers() -> ModuleType:
    """The module; seconds to import, so only for tests that ask."""
    return importlib.import_module("sentence_transformers")


@pytest.fixture(scope="session")
def reference(minilm, sentence_transformers):
    """The same model in sentence-transformers, in float32 on the CPU."""
    return sentence_transformers.SentenceTransformer(minilm.model_config.identity.path, device="cpu")


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A tiny BERT, without files of sentence-transformers."""
    from millpond.testing.checkpoints import tiny

    return tiny("BertModel", tmp_path / "checkpoint")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Iterator["LLM"]:
    """A tiny BERT that is loaded; tests do not change its files."""
    from millpond import LLM
    from millpond.testing.checkpoints import tiny

    with LLM(str(tiny("BertModel", tmp_path_factory.mktemp("tiny") / "bert")), num_workers=1) as llm:
        yield llm


@pytest.fixture
def load() -> Iterator:
    """Load models as ``LLM`` does, and close them when the test ends."""
    from millpond import LLM

    loaded: list[LLM] = []

    def load(model, **settings) -> LLM:
        loaded.append(LLM(str(model), **{"num_workers": 1, **settings}))
        return loaded[-1]

    yield load
    for llm in loaded:
        llm.close()
