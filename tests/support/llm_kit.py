"""Texts, embeddings and comparisons for tests of calls of LLM."""

import numpy as np
import pytest

from millpond import LLM
from millpond.testing.tokenizers import WORDS

POISON = 5  # a token id that no text in these tests has
FAULTY = [1, 10**9]  # an id outside any vocabulary


def texts_of(count):
    """Texts of 1 to 40 words."""
    numbers, words = np.random.default_rng(0), WORDS.split()
    return [" ".join(numbers.choice(words, 1 + number % 40)) for number in range(count)]


def vectors(outputs):
    return np.stack([output.outputs.array for output in outputs])


def embed(llm, prompts, **named):
    return llm.embed(prompts, use_tqdm=False, **named)


def check(llm, outputs, texts):
    """Each output is what its text gives alone."""
    assert len(outputs) == len(texts)
    for output, text in zip(outputs, texts, strict=True):
        assert output.error is None, output.error
        (alone,) = embed(llm, text)
        assert output.prompt_token_ids == alone.prompt_token_ids
        np.testing.assert_allclose(output.outputs.array, alone.outputs.array, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def plain(folder):
    """The tiny BERT, for tests that change nothing of it."""
    with LLM(folder, num_workers=2, max_num_batched_tokens=512) as llm:
        yield llm


@pytest.fixture
def llm(make_llm):
    """The tiny BERT, watched."""
    return make_llm(2)
