"""Admission control: refuse requests that cannot be served in time, and find the priority class of a request."""

from collections.abc import Collection, Mapping
from typing import Any

from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError
from millpond_server.runtime.models import ServedModel

PRIORITY_HEADER = "x-millpond-lane"
PRIORITY_CLASSES = ("interactive", "batch")
ASCII_CHARS_PER_TOKEN = 4
OTHER_CHARS_PER_TOKEN = 1.5
TOKENS_PER_IMAGE = 256
INTERACTIVE_TASKS = frozenset({"score"})  # a search waits for its ranking, even of many documents


def admit(call: Call, *, timeout: float | None) -> None:
    """Refuse a request if its model takes no requests, or if it would wait too long.

    Args:
        call: The request.
        timeout: The maximum duration of the request in seconds; None for no limit.

    Raises:
        ApiError: 503 or ``overload_status``, with the time after which to retry.
    """
    name, engine = call.served.name, call.served.llm.engine
    if name in call.state.refusing:
        raise ApiError(503, f"the model {name} is not available at present", retry_after=1.0, reason="dead")
    wait = engine.expected_wait(call.priority)
    max_wait = call.settings.limits.queue_wait
    if wait > max_wait:
        message = f"the model is busy: a request would wait for {wait:.1f} seconds"
        raise ApiError(call.settings.overload_status, message, retry_after=wait - max_wait, reason="queue")
    if timeout is not None and wait > timeout:
        message = f"the model is busy: a request would wait for {wait:.1f} seconds, and may take {timeout:g}"
        raise ApiError(call.settings.overload_status, message, retry_after=wait - timeout, reason="hopeless")


def is_batch_request(
    headers: Mapping[str, str], body: Any, size: int, served: ServedModel, tasks: Collection[str] = ()
) -> bool:
    """Return True for the priority class `batch`: as the header states, else for requests larger than one batch.

    Ranking requests are interactive unless the header states otherwise.

    Args:
        headers: The headers, by lower-case names.
        body: The parsed JSON body.
        size: The size of the body in bytes.
        served: The model of the request.
        tasks: The tasks of the route.

    Raises:
        ApiError: 400 if the header contains an unknown priority class.
    """
    name = headers.get(PRIORITY_HEADER)
    if name is not None:
        if name not in PRIORITY_CLASSES:
            message = (
                f"{PRIORITY_HEADER}: unknown priority class {name[:100]!r}. Available: {', '.join(PRIORITY_CLASSES)}"
            )
            raise ApiError(400, message, parameter="headers", reason="invalid")
        return name == "batch"
    if tasks and INTERACTIVE_TASKS.issuperset(tasks):
        return False
    batch_tokens = served.llm.engine.engine.scheduler.max_num_batched_tokens
    if size <= batch_tokens or (isinstance(body, dict) and "query" in body):  # a token has at least one byte
        return False
    return exceeds_tokens(body, batch_tokens, max_text_tokens=served.llm.model_config.max_model_len)


def exceeds_tokens(body: Any, max_tokens: int, *, max_text_tokens: int) -> bool:
    """Estimate from its characters, before tokenization, whether a body contains more tokens than a limit.

    Args:
        body: The parsed JSON body.
        max_tokens: The limit.
        max_text_tokens: The maximum length of a text; longer texts are truncated or refused.
    """
    tokens = 0.0
    remaining = [body]
    while remaining and tokens <= max_tokens:
        value = remaining.pop()
        if isinstance(value, str):
            chars_per_token = ASCII_CHARS_PER_TOKEN if value.isascii() else OTHER_CHARS_PER_TOKEN
            is_image = value[:5].lower() == "data:"
            tokens += TOKENS_PER_IMAGE if is_image else min(len(value) / chars_per_token, max_text_tokens) + 1
        elif isinstance(value, list):
            if value and isinstance(value[0], int | float):
                tokens += len(value)
            else:
                remaining += value
        elif isinstance(value, dict):
            remaining += value.values()
    return tokens > max_tokens
