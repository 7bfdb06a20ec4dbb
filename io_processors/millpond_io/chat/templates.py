"""Chat templates of models and callers, rendered in Jinja's sandbox with a limit on the size of the output."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from jinja2 import Template

JINJA_MARKERS = ("{{", "{%", "{#", "\n")  # distinguish the text of a template from the path of a file
MAX_SOURCE_BYTES = 1_000_000


class JinjaTemplate:
    """A compiled template.

    Attributes:
        source: The text of the template.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._compiled = _compile(source)

    def render(self, variables: Mapping[str, Any], max_chars: int) -> str:
        """Render the template.

        Args:
            variables: The variables of the template.
            max_chars: The maximum number of characters of the text.

        Raises:
            InvalidInputError: If the template fails, or the text is longer.
        """
        return generate(self._compiled, variables, max_chars)


def generate(template: "Template", variables: Mapping[str, Any], max_chars: int) -> str:
    """Render a compiled template; see ``JinjaTemplate.render``."""
    parts: list[str] = []
    size = 0
    try:
        for part in template.generate(**variables):
            parts.append(part)
            size += len(part)
            if size > max_chars:
                break
    except Exception as error:  # an expression in a template can raise any exception
        message = f"the chat template fails: {type(error).__name__}: {error}"
        raise InvalidInputError(message, parameter="chat_template") from error
    if size > max_chars:
        message = f"the chat template writes more than the maximum of {max_chars} characters"
        raise InvalidInputError(message, parameter="chat_template")
    return "".join(parts)


def read_template(text_or_path: str) -> str:
    """Return the text of a template, from the text itself or the path of a file.

    Raises:
        InvalidInputError: If it is neither.
    """
    if any(marker in text_or_path for marker in JINJA_MARKERS):
        return text_or_path
    try:
        path = Path(text_or_path)
        if path.is_file() and path.stat().st_size <= MAX_SOURCE_BYTES:
            return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        message = f"chat_template={text_or_path!r} cannot be read: {error}"
        raise InvalidInputError(message, parameter="chat_template") from error
    message = (
        f"chat_template={text_or_path!r} is neither Jinja text, which contains '{{{{' or '{{%', nor the path of a file "
        f"of at most {MAX_SOURCE_BYTES} bytes"
    )
    raise InvalidInputError(message, parameter="chat_template")


@lru_cache(maxsize=64)
def _compile(source: str) -> "Template":
    """Compile a template with the same options as transformers, so that templates of checkpoints render equally."""
    from jinja2 import TemplateError  # noqa: PLC0415  most models have no template
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415  as above

    environment = ImmutableSandboxedEnvironment(**OPTIONS)
    environment.filters["tojson"] = to_json
    environment.globals.update(FUNCTIONS)
    try:
        return environment.from_string(source)
    except (TemplateError, RecursionError) as error:
        message = f"the chat template is not valid Jinja: {error}"
        raise InvalidInputError(message, parameter="chat_template") from error


def to_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON, like the filter ``tojson`` of transformers."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: object) -> NoReturn:
    from jinja2 import TemplateError  # noqa: PLC0415  as above

    raise TemplateError(str(message))


def _now(date_format: str) -> str:
    return datetime.now().astimezone().strftime(date_format)


OPTIONS: Mapping[str, Any] = MappingProxyType(
    {"trim_blocks": True, "lstrip_blocks": True, "extensions": ("jinja2.ext.loopcontrols",)}
)
FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType({"raise_exception": _raise, "strftime_now": _now})
