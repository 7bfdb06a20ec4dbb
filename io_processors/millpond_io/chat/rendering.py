"""Compilation and rendering of templates in the environment with limits."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError

from millpond.types.errors import InvalidInputError
from millpond_io.chat.limited import FILTERS, METER, LimitedEnvironment
from millpond_io.chat.meter import LimitReached, Meter, OpaqueValueError

MAX_ERROR_CHARS = 300
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
PARAMETER = "chat_template"


def render(template: Template, variables: Mapping[str, Any], max_chars: int, seconds: float) -> str:
    """Render a compiled template; see ``JinjaTemplate.render``."""
    try:
        meter = Meter(seconds, max_chars, variables)
        return _generate(template, {**variables, METER: meter}, max_chars)
    except (LimitReached, MemoryError):
        message = "the chat template exceeds the time or memory limit"
        raise InvalidInputError(message, parameter=PARAMETER) from None
    except OpaqueValueError as error:
        message = f"the variables of a chat template must be JSON values: {error}"
        raise InvalidInputError(message, parameter="chat_template_kwargs") from None


def _generate(template: Template, variables: Mapping[str, Any], max_chars: int) -> str:
    parts: list[str] = []
    size = 0
    try:
        for part in template.generate(**variables):
            parts.append(part)
            size += len(part)
            if size > max_chars:
                break
    except (LimitReached, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  an expression in a template can raise any exception
        reason = ADDRESS.sub("", f"{type(error).__name__}: {error}")[:MAX_ERROR_CHARS]
        raise InvalidInputError(f"the chat template fails: {reason}", parameter=PARAMETER) from None
    if size > max_chars:
        message = f"the chat template writes more than the maximum of {max_chars} characters"
        raise InvalidInputError(message, parameter=PARAMETER)
    return "".join(parts)


@lru_cache(maxsize=64)
def compiled(source: str) -> Template:
    """Compile a template.

    Raises:
        InvalidInputError: If the template is invalid, or uses an unknown filter.
    """
    try:
        return _environment().from_string(source)
    except TemplateError as error:
        reason = str(error)[:MAX_ERROR_CHARS]
        if "No filter named" in reason:
            reason += f" Available: {', '.join(FILTERS)}"
    except Exception as error:  # noqa: BLE001  such as RecursionError for deeply nested templates
        reason = type(error).__name__
    raise InvalidInputError(f"the chat template is not valid Jinja: {reason}", parameter=PARAMETER)


@lru_cache(maxsize=1)
def _environment() -> LimitedEnvironment:
    return LimitedEnvironment()
