"""Pytest plugin with fixtures for all tests: MiniLM and sentence-transformers, loaded once, and tiny checkpoints.

It does not import torch, so sessions that need no model start quickly.
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
    """Yield all-MiniLM-L6-v2, loaded from its Python package."""
    from millpond import LLM

    with LLM(MINILM) as llm:
        yield llm


@pytest.fixture(scope="session")
def sentence_transformers() -> ModuleType:
    """Return the module, whose import takes seconds."""
    return importlib.import_module("sentence_transformers")


@pytest.fixture(scope="session")
def reference(minilm, sentence_transformers):
    """Return the same model in sentence-transformers, in float32 on the CPU."""
    return sentence_transformers.SentenceTransformer(minilm.model_config.identity.path, device="cpu")


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """Return the folder of a tiny BERT without files of sentence-transformers."""
    from millpond.testing.checkpoints import tiny

    return tiny("BertModel", tmp_path / "checkpoint")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Iterator["LLM"]:
    """Yield a loaded tiny BERT. Tests must not change its files."""
    from millpond import LLM
    from millpond.testing.checkpoints import tiny

    with LLM(str(tiny("BertModel", tmp_path_factory.mktemp("tiny") / "bert")), num_workers=1) as llm:
        yield llm


@pytest.fixture
def load() -> Iterator:
    """Yield a function that loads models like ``LLM``; they are closed after the test."""
    from millpond import LLM

    loaded: list[LLM] = []

    def load(model, **settings) -> LLM:
        loaded.append(LLM(str(model), **{"num_workers": 1, **settings}))
        return loaded[-1]

    yield load
    for llm in loaded:
        llm.close()
