"""Admission: refuse a request before any work is done for it, and find its priority class."""

from collections.abc import Collection, Mapping
from typing import Any

from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError
from millpond_server.runtime.models import ServedModel

HEADER = "x-millpond-lane"
LANES = ("interactive", "bulk")
PER_TOKEN = 4  # characters of a token, in text of the Latin alphabet
PER_FOREIGN_TOKEN = 1.5  # and in other text
IMAGE = 256  # tokens
RANKING = frozenset({"score"})  # tasks that somebody waits for, however many documents there are


def admit(call: Call, *, seconds: float | None) -> None:
    """Refuse a request whose model takes nothing, or that would wait too long.

    Args:
        call: The request.
        seconds: How long it may take; None for ever.

    Raises:
        ApiError: 503, or what the settings say, with when to come again.
    """
    name, engine = call.served.name, call.served.llm.engine
    if name in call.state.refusing:
        raise ApiError(503, f"the model {name} does not work at present", retry_after=1.0, reason="dead")
    wait = engine.expected_wait(call.priority)
    most = call.settings.limits.queue_wait
    if wait > most:
        message = f"the model is busy: a request would wait for {wait:.1f} seconds"
        raise ApiError(call.settings.overload_status, message, retry_after=wait - most, reason="queue")
    if seconds is not None and wait > seconds:
        message = f"the model is busy: a request would wait for {wait:.1f} seconds, and may take {seconds:g}"
        raise ApiError(call.settings.overload_status, message, retry_after=wait - seconds, reason="hopeless")


def is_bulk(headers: Mapping[str, str], body: Any, size: int, served: ServedModel, tasks: Collection[str] = ()) -> bool:
    """Whether a request lets the others pass: as its header says, else if it is more than one batch.

    Requests that rank are what a search waits for, and never in bulk unless they say so.

    Args:
        headers: Its headers.
        body: Its body, as JSON gives it.
        size: The bytes of that.
        served: The model that it names.
        tasks: The tasks of its route.

    Raises:
        ApiError: 400 if the header names no lane.
    """
    stated = headers.get(HEADER)
    if stated is not None:
        if stated not in LANES:
            message = f"{HEADER}: {stated[:100]!r} is no lane; there are: {', '.join(LANES)}"
            raise ApiError(400, message, parameter="headers", reason="invalid")
        return stated == "bulk"
    if RANKING.issuperset(tasks) and tasks:
        return False
    batch = served.llm.engine.engine.scheduler.max_num_batched_tokens
    if size <= batch or (isinstance(body, dict) and "query" in body):  # a token has at least a byte
        return False
    return has_more_tokens(body, batch, longest=served.llm.model_config.max_model_len)


def has_more_tokens(body: Any, most: int, *, longest: int) -> bool:
    """Whether a body holds more than so many tokens, by its characters: before it is tokenised, it is a guess.

    Args:
        body: What JSON gave.
        most: The tokens.
        longest: The most tokens of a text; what is over it is cut or refused.
    """
    tokens = 0.0
    left = [body]
    while left and tokens <= most:
        value = left.pop()
        if isinstance(value, str):
            per_token = PER_TOKEN if value.isascii() else PER_FOREIGN_TOKEN
            tokens += IMAGE if value.startswith("data:") else min(len(value) / per_token, longest) + 1
        elif isinstance(value, list):
            if value and isinstance(value[0], int | float):
                tokens += len(value)
            else:
                left += value
        elif isinstance(value, dict):
            left += value.values()
    return tokens > most
