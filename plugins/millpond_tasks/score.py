"""Options of the task ``score``: queries and documents to scores."""

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from millpond_tasks.options import TaskOptions

RESERVED = ("chat_template", "tools", "tokenize")


def _template(value: object) -> str:
    if isinstance(value, str | PathLike):
        return str(fspath(value))
    message = f"chat_template must be Jinja text or the path of a file; got {type(value).__name__}"
    raise ValueError(message)


def _variables(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        message = f"chat_template_kwargs must map names to values; got {type(value).__name__}"
        raise ValueError(message)
    reserved = [name for name in RESERVED if name in value]
    if reserved:
        message = f"chat_template_kwargs must not set {reserved[0]!r}: {', '.join(RESERVED)} are reserved"
        raise ValueError(message)
    return value


def _text(value: object, info: ValidationInfo) -> str:
    if isinstance(value, str):
        return value
    message = f"{info.field_name} must be a str; got {type(value).__name__}"
    raise ValueError(message)


def _count(value: object, info: ValidationInfo) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    message = f"{info.field_name} must be a non-negative integer; got {value!r}, 0 means no limit"
    raise ValueError(message)


class ScoreOptions(TaskOptions):
    """Options of ``score``.

    Attributes:
        chat_template: The template of a pair, as Jinja text or the path of a file.
        chat_template_kwargs: Additional variables of the template.
        instruction: The instruction of a reranker.
        max_tokens_per_query: The maximum number of tokens of a query; 0 for no limit.
        max_tokens_per_doc: The maximum number of tokens of a document; 0 for no limit.
        mixed_modality: The treatment of a text with an image, for models that read one or the other; None for the
            setting of the loaded model.
    """

    chat_template: Annotated[str | None, BeforeValidator(_template)] = None
    chat_template_kwargs: Annotated[Mapping[str, Any], BeforeValidator(_variables)] = {}
    instruction: Annotated[str | None, BeforeValidator(_text)] = None
    max_tokens_per_query: Annotated[int, BeforeValidator(_count)] = 0
    max_tokens_per_doc: Annotated[int, BeforeValidator(_count)] = 0
    mixed_modality: Annotated[str | None, BeforeValidator(_text)] = None
