"""Texts, comparisons and waits for tests of AsyncLLM."""

import asyncio

import numpy as np
import pytest

from millpond import LLM, AsyncLLM

TEXTS = ["a mill by the pond", "rain", "the city at night, cold and dark", "two birds over the river", "a"] * 4


def vectors(outputs):
    return np.stack([output.outputs.array for output in outputs])


def check(outputs, texts, expected):
    np.testing.assert_allclose(vectors(outputs), np.stack([expected[text] for text in texts]), atol=1e-6, rtol=0)


async def held(gate, count=1):
    """Wait, beside the loop, until forwards are held."""
    await asyncio.to_thread(gate.wait, count)


async def queued(llm, tokens):
    """Wait until the engine has a number of tokens."""
    while llm.engine.waiting_tokens < tokens:  # noqa: ASYNC110  the engine has no event for it
        await asyncio.sleep(0)


@pytest.fixture
def make(folder, watched, closing):
    """Load the tiny BERT, watched; it is closed after the test, on any event loop."""

    def make(num_workers=2, **arguments):
        llm = AsyncLLM(folder, plugins=watched.plugins, num_workers=num_workers, **arguments)
        closing.callback(lambda: asyncio.run(llm.close(finish=False)))
        return llm

    return make


@pytest.fixture(scope="session")
def expected(folder):
    """The embedding of each text, asked for alone."""
    with LLM(folder, num_workers=1) as llm:
        return {text: llm.embed(text, use_tqdm=False)[0].outputs.array for text in TEXTS}
