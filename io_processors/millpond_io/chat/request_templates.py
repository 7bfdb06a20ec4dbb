"""Rendering of chat templates from requests.

Only one such template is rendered at a time, which bounds the memory of untrusted templates.
"""

from collections.abc import Mapping
from threading import Lock
from time import thread_time
from typing import Any

from millpond.types.errors import EngineOverloadedError, InvalidInputError
from millpond.types.prompts import TemplateBudget
from millpond_io.chat.templates import JinjaTemplate

MAX_SOURCE_CHARS = 2**15  # compiling a template of this length takes about a second
LOCK_TIMEOUT_S = 0.25
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
        text = JinjaTemplate(source).render(variables, max_chars, seconds=remaining)
    finally:
        render_lock.release()
    budget.seconds = remaining - (thread_time() - start)
    return text
