"""Rendering of chat templates from requests, with limits on time and memory.

Only one such template is rendered at a time, which bounds the memory of untrusted templates.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from threading import Lock
from time import thread_time
from typing import Any

from jinja2 import Template, TemplateError

from millpond.types.errors import EngineOverloadedError, InvalidInputError
from millpond.types.prompts import TemplateBudget
from millpond_io.chat.limited import FILTERS, METER, LimitedEnvironment
from millpond_io.chat.meter import LimitReached, Meter, OpaqueValueError
from millpond_io.chat.templates import generate

MAX_SOURCE_CHARS = 2**15  # compiling a template of this length takes about a second
LOCK_TIMEOUT_S = 0.25
MAX_ERROR_CHARS = 300
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
PARAMETER = "chat_template"

render_lock = Lock()


def render_request_template(source: str, variables: Mapping[str, Any], max_chars: int, budget: TemplateBudget) -> str:
    """Render a template.

    Args:
        source: The template.
        variables: The variables of the template, which must be JSON values.
        max_chars: The maximum number of characters of the text.
        budget: The remaining CPU time of the request; the time of the rendering is subtracted.

    Raises:
        InvalidInputError: If the template fails, or exceeds its limits.
        EngineOverloadedError: If the template of another request is being rendered.
    """
    if len(source) > MAX_SOURCE_CHARS:
        message = f"chat_template has {len(source)} characters; the maximum for requests is {MAX_SOURCE_CHARS}"
        raise InvalidInputError(message, parameter=PARAMETER)
    if budget.seconds <= 0:
        message = "the chat template exceeds the time limit for templates in requests"
        raise InvalidInputError(message, parameter=PARAMETER)
    if not render_lock.acquire(timeout=LOCK_TIMEOUT_S):
        message = "the chat template of another request is being rendered; try again later"
        raise EngineOverloadedError(message, retry_after=1.0)
    start, remaining = thread_time(), budget.seconds
    budget.seconds = 0.0
    try:
        text = _render(source, variables, max_chars, remaining)
    except (LimitReached, MemoryError):
        message = "the chat template exceeds the time or memory limit for templates in requests"
        raise InvalidInputError(message, parameter=PARAMETER) from None
    finally:
        render_lock.release()
    budget.seconds = remaining - (thread_time() - start)
    return text


def _render(source: str, variables: Mapping[str, Any], max_chars: int, seconds: float) -> str:
    try:
        meter = Meter(seconds, max_chars, variables)
    except OpaqueValueError as error:
        message = f"the variables of a chat template must be JSON values: {error}"
        raise InvalidInputError(message, parameter="chat_template_kwargs") from None
    template = _compile(source)
    meter.spend()
    try:
        return generate(template, {**variables, METER: meter}, max_chars)
    except InvalidInputError as error:
        if isinstance(error.__cause__, LimitReached | MemoryError):
            raise error.__cause__ from None
        raise InvalidInputError(ADDRESS.sub("", str(error))[:MAX_ERROR_CHARS], parameter=PARAMETER) from None


@lru_cache(maxsize=16)
def _compile(source: str) -> Template:
    """Compile a template.

    Raises:
        InvalidInputError: If the template is invalid, or uses an unknown filter.
    """
    try:
        return _environment().from_string(source)
    except TemplateError as error:
        reason = str(error)[:MAX_ERROR_CHARS]
        if "No filter named" in reason:
            reason += f" Available in requests: {', '.join(FILTERS)}"
    except Exception as error:  # noqa: BLE001  such as RecursionError for deeply nested templates
        reason = type(error).__name__
    raise InvalidInputError(f"the chat template is not valid Jinja: {reason}", parameter=PARAMETER)


@lru_cache(maxsize=1)
def _environment() -> LimitedEnvironment:
    return LimitedEnvironment()
