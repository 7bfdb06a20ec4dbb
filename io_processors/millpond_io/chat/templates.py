"""Chat templates: Jinja text from who runs the model, rendered in a sandbox to text of a bounded size."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from millpond.types.errors import InvalidInputError

MARKS = ("{{", "{%", "{#", "\n")  # what tells the text of a template from the path of a file
MOST_CHARACTERS = 1_000_000  # of a template itself


class JinjaTemplate:
    """A compiled template.

    Attributes:
        source: Its text.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._compiled = _compiled(source)

    def render(self, variables: Mapping[str, Any], most: int) -> str:
        """The text for some variables.

        Args:
            variables: What the template may name.
            most: The most characters that the text may have.

        Raises:
            InvalidInputError: If the template fails, or makes a longer text.
        """
        return generate(self._compiled, variables, most)


def generate(template: Template, variables: Mapping[str, Any], most: int) -> str:
    """Return the text that a compiled template makes; see ``JinjaTemplate.render``."""
    parts: list[str] = []
    size = 0
    try:
        for part in template.generate(**variables):
            parts.append(part)
            size += len(part)
            if size > most:
                break
    except Exception as error:  # a template can raise what any expression can
        message = f"the chat template fails: {type(error).__name__}: {error}"
        raise InvalidInputError(message, parameter="chat_template") from error
    if size > most:
        message = f"the chat template makes more than {most} characters of the texts it was given"
        raise InvalidInputError(message, parameter="chat_template")
    return "".join(parts)


def read_template(given: str) -> str:
    """The text of a template that is given as text or as the path of a file.

    Raises:
        InvalidInputError: If it is neither.
    """
    if any(mark in given for mark in MARKS):
        return given
    try:
        path = Path(given)
        if path.is_file() and path.stat().st_size <= MOST_CHARACTERS:
            return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        message = f"chat_template={given!r} cannot be read: {error}"
        raise InvalidInputError(message, parameter="chat_template") from error
    message = (
        f"chat_template={given!r} is neither Jinja text, which has '{{{{' or '{{%' in it, nor the path of a file of at "
        f"most {MOST_CHARACTERS} bytes"
    )
    raise InvalidInputError(message, parameter="chat_template")


@lru_cache(maxsize=64)
def _compiled(source: str) -> Template:
    """The template as transformers compiles it, so that checkpoints' templates mean the same."""
    environment = ImmutableSandboxedEnvironment(**OPTIONS)
    environment.filters["tojson"] = to_json
    environment.globals.update(FUNCTIONS)
    try:
        return environment.from_string(source)
    except (TemplateError, RecursionError) as error:
        message = f"the chat template is not valid Jinja: {error}"
        raise InvalidInputError(message, parameter="chat_template") from error


def to_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON, as the filter ``tojson`` of transformers writes it."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: object) -> NoReturn:
    raise TemplateError(str(message))


def _now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)


OPTIONS: Mapping[str, Any] = MappingProxyType(
    {"trim_blocks": True, "lstrip_blocks": True, "extensions": ("jinja2.ext.loopcontrols",)}
)
FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({"raise_exception": _raise, "strftime_now": _now})
