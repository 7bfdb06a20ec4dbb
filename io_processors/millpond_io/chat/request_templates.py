"""Chat templates that requests send, rendered within limits of time and memory.

One is rendered at a time, so that the memory of one is all that strangers' templates take.
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

MOST_SOURCE = 2**15  # characters of a template: compiling takes time too, about a second for as many
PATIENCE = 0.25  # seconds to wait for the one that is rendered just now
LONGEST_ERROR = 300  # characters
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
PARAMETER = "chat_template"

turn = Lock()


def render_request_template(source: str, variables: Mapping[str, Any], most: int, budget: TemplateBudget) -> str:
    """Render a template.

    Args:
        source: The template.
        variables: What it may name, as JSON can hold it.
        most: The most characters that the text may have.
        budget: The CPU time that is left for it, which becomes less.

    Raises:
        InvalidInputError: If the template fails, or takes more than it may.
        EngineOverloadedError: If another one takes its time just now.
    """
    if len(source) > MOST_SOURCE:
        message = f"chat_template has {len(source)} characters; a request's may have {MOST_SOURCE}"
        raise InvalidInputError(message, parameter=PARAMETER)
    if budget.seconds <= 0:
        message = "the chat template takes more time than a request's templates may"
        raise InvalidInputError(message, parameter=PARAMETER)
    if not turn.acquire(timeout=PATIENCE):
        message = "another request's chat template is rendered just now: try again later"
        raise EngineOverloadedError(message, retry_after=1.0)
    began, left = thread_time(), budget.seconds
    budget.seconds = 0.0
    try:
        text = _rendered(source, variables, most, left)
    except (LimitReached, MemoryError):
        message = "the chat template takes more time or memory than a request's templates may"
        raise InvalidInputError(message, parameter=PARAMETER) from None
    finally:
        turn.release()
    budget.seconds = left - (thread_time() - began)
    return text


def _rendered(source: str, variables: Mapping[str, Any], most: int, seconds: float) -> str:
    try:
        meter = Meter(seconds, most, variables)
    except OpaqueValueError as error:
        message = f"the variables of a chat template must be what JSON can hold: {error}"
        raise InvalidInputError(message, parameter="chat_template_kwargs") from None
    template = _compiled(source)
    meter.spend()
    try:
        return generate(template, {**variables, METER: meter}, most)
    except InvalidInputError as error:
        if isinstance(error.__cause__, LimitReached | MemoryError):
            raise error.__cause__ from None
        raise InvalidInputError(ADDRESS.sub("", str(error))[:LONGEST_ERROR], parameter=PARAMETER) from None


@lru_cache(maxsize=16)
def _compiled(source: str) -> Template:
    """Return the template of a text.

    Raises:
        InvalidInputError: If it is not valid, or uses a filter that is not there.
    """
    try:
        return _environment().from_string(source)
    except TemplateError as error:
        reason = str(error)[:LONGEST_ERROR]
        if "No filter named" in reason:
            reason += f" A request's template has these: {', '.join(FILTERS)}"
    except Exception as error:  # noqa: BLE001  such as Python's own, of a template that is nested too deeply
        reason = type(error).__name__
    raise InvalidInputError(f"the chat template is not valid Jinja: {reason}", parameter=PARAMETER)


@lru_cache(maxsize=1)
def _environment() -> LimitedEnvironment:
    return LimitedEnvironment()
