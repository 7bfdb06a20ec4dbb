"""Tokenising for its own sake: on threads of its own, and of no more text than a request may hold."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from millpond import AsyncLLM
from millpond.loading.tokenizer import Tokenizer
from millpond_server.http.errors import ApiError
from millpond_server.runtime.settings import Limits

T = TypeVar("T")
PER_TOKEN = 8  # characters: few texts have so many a token, and a million takes a second
THREADS = ThreadPoolExecutor(2, thread_name_prefix="millpond-tokenise")  # started when there is work


def check_size(texts: Sequence[str], limits: Limits, parameter: str) -> None:
    """Refuse texts that are sure to take long.

    Raises:
        ApiError: 413.
    """
    characters = sum(map(len, texts))
    if characters > PER_TOKEN * limits.tokens:
        message = f"{parameter} holds {characters} characters; {PER_TOKEN * limits.tokens} are tokenised at a time"
        raise ApiError(413, message, parameter=parameter, reason="tokens")
    if len(texts) > limits.inputs:
        message = f"{parameter} holds {len(texts)} items; the list length is limited to {limits.inputs}"
        raise ApiError(413, message, parameter=parameter, reason="inputs")


def check_count(tokens: int, limits: Limits, parameter: str) -> None:
    """Refuse more tokens than a request may hold.

    Raises:
        ApiError: 413.
    """
    if tokens > limits.tokens:
        message = f"{parameter} holds {tokens} tokens; a request may hold {limits.tokens}"
        raise ApiError(413, message, parameter=parameter, reason="tokens")


def check_vocabulary(ids: Iterable[int], tokenizer: Tokenizer, parameter: str | None = None) -> None:
    """Refuse token ids that the vocabulary does not have.

    Raises:
        ApiError: 400.
    """
    size = tokenizer.backend.get_vocab_size(with_added_tokens=True)
    unknown = next((token for token in ids if not 0 <= token < size), None)
    if unknown is not None:
        message = f"token id {unknown} is not in the vocabulary: ids go from 0 to {size - 1}"
        raise ApiError(400, message, parameter=parameter, reason=None if parameter is None else "invalid")


def tokenizer_of(llm: AsyncLLM, status: int) -> Tokenizer:
    """Return the tokenizer of a model.

    Raises:
        ApiError: With the status, if the model has none.
    """
    tokenizer = llm.pipeline.ctx.tokenizer
    if tokenizer is None:
        raise ApiError(status, f"the model {llm.model_config.model!r} has no tokenizer", reason="unsupported")
    return tokenizer


async def aside(function: Callable[..., T], *arguments: object, **named: object) -> T:
    """What a function returns, called where it holds up nobody else."""
    return await asyncio.get_running_loop().run_in_executor(THREADS, partial(function, *arguments, **named))
