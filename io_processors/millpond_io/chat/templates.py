"""Chat templates of models, callers and requests, rendered in Jinja's sandbox with limits on time and memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.types.errors import InvalidInputError

JINJA_MARKERS = ("{{", "{%", "{#", "\n")  # distinguish the text of a template from the path of a file
MAX_SOURCE_BYTES = 1_000_000
MAX_SOURCE_CHARS = 2**17  # compiling a template of this length takes a few seconds
RENDER_SECONDS = 1.0


class JinjaTemplate:
    """A compiled template; the same class and limits for templates of checkpoints, callers and requests.

    Attributes:
        source: The text of the template.
    """

    def __init__(self, source: str) -> None:
        from millpond_io.chat.rendering import compiled  # noqa: PLC0415  needs jinja2; most models have no template

        if len(source) > MAX_SOURCE_CHARS:
            message = f"the chat template has {len(source)} characters; the maximum is {MAX_SOURCE_CHARS}"
            raise InvalidInputError(message, parameter="chat_template")
        self.source = source
        self._compiled = compiled(source)

    def render(self, variables: Mapping[str, Any], max_chars: int, *, seconds: float = RENDER_SECONDS) -> str:
        """Render the template.

        Args:
            variables: The variables of the template, which must be JSON values.
            max_chars: The maximum number of characters of the text.
            seconds: The maximum CPU time.

        Raises:
            InvalidInputError: If the template fails, or exceeds its limits.
        """
        from millpond_io.chat.rendering import render  # noqa: PLC0415  as above

        return render(self._compiled, variables, max_chars, seconds)


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
