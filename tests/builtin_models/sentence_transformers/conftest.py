"""Fixtures for tests of folders saved by sentence-transformers: the library, and a comparison with its vectors."""

import importlib
from types import ModuleType

import numpy as np
import pytest
import torch

TEXTS = (
    "the old mill by the pond",
    "a",
    "rain and wind over the river at night , and the long road home",
    "word " * 20,
)


@pytest.fixture(scope="session")
def theirs() -> ModuleType:
    """The library; imported only by tests that need it, because the import takes seconds."""
    return importlib.import_module("sentence_transformers")


@pytest.fixture(scope="session")
def kinds(theirs) -> ModuleType:
    """Its modules, such as ``kinds.Pooling``."""
    return theirs.sentence_transformer.modules


@pytest.fixture(scope="session")
def randomized():
    """Set all parameters of a torch module to random values, so that a parameter that is not loaded is detected."""

    def randomized(module, seed: int = 7):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                centre = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
                parameter.copy_(centre + 0.3 * torch.randn(parameter.shape, generator=generator))
        return module

    return randomized


@pytest.fixture(scope="session")
def save(theirs):
    """Save modules as a SentenceTransformer; returns it as loaded from the folder again."""

    def save(folder, modules, **settings):
        theirs.SentenceTransformer(modules=modules, device="cpu", **settings).save(str(folder))
        return theirs.SentenceTransformer(str(folder), device="cpu")

    return save


@pytest.fixture(scope="session")
def assert_same():
    """Compare the vectors of a model with those of sentence-transformers, for texts in one batch and alone."""

    def assert_same(llm, model, texts=TEXTS, *, atol: float = 1e-5, ours=None, **settings):
        options = ours or {}
        actual = np.stack([output.outputs.array for output in llm.embed(list(texts), use_tqdm=False, **options)])
        expected = np.stack([model.encode(text, **settings) for text in texts])
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)
        for text, vector in zip(texts, expected, strict=True):
            (alone,) = llm.embed(text, use_tqdm=False, **options)
            np.testing.assert_allclose(alone.outputs.array, vector, rtol=0, atol=atol)

    return assert_same
