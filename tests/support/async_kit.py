"""Texts, comparisons and waits for tests of AsyncLLM."""

import asyncio

import numpy as np
import pytest
from waiting import eventually_on_loop

from millpond import LLM, AsyncLLM

TEXTS = ["a mill by the pond", "rain", "the city at night, cold and dark", "two birds over the river", "a"] * 4


def vectors(outputs):
    return np.stack([output.outputs.array for output in outputs])


def check(outputs, texts, expected):
    np.testing.assert_allclose(vectors(outputs), np.stack([expected[text] for text in texts]), atol=1e-6, rtol=0)


async def held(gate, *calls):
    """Wait until a forward is held, without which the calls cannot end."""
    await eventually_on_loop(lambda: not gate.no_forward_began(), *calls)


async def queued(llm, tokens, *calls):
    """Wait until the engine has a number of tokens, of calls that cannot end before."""
    await eventually_on_loop(lambda: llm.engine.waiting_tokens >= tokens, *calls)


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
