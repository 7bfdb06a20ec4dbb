"""Tokenization for routes that return tokens: in separate threads, and within the limits of a request."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from millpond import AsyncLLM
from millpond.model.tokenizer import Tokenizer
from millpond_server.http.errors import ApiError
from millpond_server.runtime.settings import Limits

T = TypeVar("T")
MAX_CHARS_PER_TOKEN = 8  # few texts have more, and tokenizing a million characters takes a second
THREADS = ThreadPoolExecutor(2, thread_name_prefix="millpond-tokenise")  # threads are started when needed


def check_size(texts: Sequence[str], limits: Limits, parameter: str) -> None:
    """Refuse texts that would take too long to tokenize.

    Raises:
        ApiError: 413 for too many characters or texts.
    """
    num_chars, max_chars = sum(map(len, texts)), MAX_CHARS_PER_TOKEN * limits.tokens
    if num_chars > max_chars:
        message = f"{parameter} contains {num_chars} characters; the maximum for tokenization is {max_chars}"
        raise ApiError(413, message, parameter=parameter, reason="tokens")
    if len(texts) > limits.inputs:
        message = f"{parameter} contains {len(texts)} items; the list length is limited to {limits.inputs}"
        raise ApiError(413, message, parameter=parameter, reason="inputs")


def check_count(num_tokens: int, limits: Limits, parameter: str) -> None:
    """Refuse more tokens than the maximum of a request.

    Raises:
        ApiError: 413 for too many tokens.
    """
    if num_tokens > limits.tokens:
        message = f"{parameter} contains {num_tokens} tokens; a request may contain at most {limits.tokens}"
        raise ApiError(413, message, parameter=parameter, reason="tokens")


def check_vocabulary(ids: Iterable[int], tokenizer: Tokenizer, parameter: str | None = None) -> None:
    """Refuse token ids that are not in the vocabulary.

    Raises:
        ApiError: 400 with the first unknown id.
    """
    size = tokenizer.backend.get_vocab_size(with_added_tokens=True)
    unknown = next((token for token in ids if not 0 <= token < size), None)
    if unknown is not None:
        message = f"token id {unknown} is not in the vocabulary: ids go from 0 to {size - 1}"
        raise ApiError(400, message, parameter=parameter, reason=None if parameter is None else "invalid")


def tokenizer_of(llm: AsyncLLM, status: int) -> Tokenizer:
    """Return the tokenizer of a model.

    Raises:
        ApiError: With the status, if the model has no tokenizer.
    """
    tokenizer = llm.pipeline.ctx.tokenizer
    if tokenizer is None:
        raise ApiError(status, f"the model {llm.model_config.model!r} has no tokenizer", reason="unsupported")
    return tokenizer


async def run_in_thread(function: Callable[..., T], *args: object, **kwargs: object) -> T:
    """Call a function in a thread and return its result."""
    return await asyncio.get_running_loop().run_in_executor(THREADS, partial(function, *args, **kwargs))
