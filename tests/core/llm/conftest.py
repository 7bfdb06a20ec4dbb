"""Fixtures of the tests of `LLM` and `AsyncLLM`, from tests/support."""

from async_kit import expected, make  # noqa: F401  fixtures
from engine_kit import (  # noqa: F401  fixtures
    closing,
    folder,
    gate,
    kit,
    make_engine,
    make_llm,
    make_runner,
    make_thread,
    model,
    threads_named,
    three_threads,
    watched,
)
from llm_kit import llm, plain  # noqa: F401  fixtures
