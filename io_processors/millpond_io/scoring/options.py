"""What a call of ``LLM.score`` may say beside its texts and pooling parameters."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from os import PathLike, fspath
from typing import Any

from millpond.types.errors import InvalidInputError
from millpond.types.params import PoolingParams

RESERVED = ("chat_template", "tools", "tokenize")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """How queries and documents become what the model reads.

    Attributes:
        chat_template: The template of a pair, as Jinja text or the path of a file.
        chat_template_kwargs: Further variables of the template.
        instruction: What a reranker is to judge by.
        max_tokens_per_query: How many tokens of a query are read; 0 for all.
        max_tokens_per_doc: How many tokens of a document are read; 0 for all.
        mixed: What becomes of a text with an image, for models that read one or the other; None for what the model was
            loaded with.
    """

    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    instruction: str | None = None
    max_tokens_per_query: int = 0
    max_tokens_per_doc: int = 0
    mixed: str | None = None


def read_options(params: PoolingParams, max_model_len: int) -> ScoreOptions:
    """The options among the parameters of a call.

    Raises:
        InvalidInputError: If one does not fit, or is not known.
    """
    given = params.extra_kwargs or {}
    known = [each.name for each in fields(ScoreOptions)]
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        message = f"score knows no {unknown[0]!r}; there are: {', '.join(known)}"
        raise InvalidInputError(message, parameter="extra_kwargs")
    said = {name: value for name, value in given.items() if value is not None}
    return ScoreOptions(
        chat_template=_template(said.get("chat_template")),
        chat_template_kwargs=_variables(said.get("chat_template_kwargs", {})),
        instruction=_instruction(said.get("instruction")),
        max_tokens_per_query=_count("max_tokens_per_query", said.get("max_tokens_per_query", 0), max_model_len),
        max_tokens_per_doc=_count("max_tokens_per_doc", said.get("max_tokens_per_doc", 0), max_model_len),
        mixed=_mixed(said.get("mixed")),
    )


def warn_of_templates(options: ScoreOptions, why: str) -> None:
    """Say that what only templates use has no effect, and why."""
    for name in ("chat_template", "chat_template_kwargs", "instruction"):
        if getattr(options, name):
            warnings.warn(f"{name} has no effect: {why}", stacklevel=2)


def _template(value: object) -> str | None:
    if value is None or isinstance(value, str | PathLike):
        return None if value is None else str(fspath(value))
    message = f"chat_template must be Jinja text or the path of a file; got {type(value).__name__}"
    raise InvalidInputError(message, parameter="chat_template")


def _variables(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        message = f"chat_template_kwargs must map names to values; got {type(value).__name__}"
        raise InvalidInputError(message, parameter="chat_template_kwargs")
    reserved = [name for name in RESERVED if name in value]
    if reserved:
        message = f"chat_template_kwargs must not set {reserved[0]!r}: {', '.join(RESERVED)} are reserved"
        raise InvalidInputError(message, parameter="chat_template_kwargs")
    return value


def _instruction(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    message = f"instruction must be a str; got {type(value).__name__}"
    raise InvalidInputError(message, parameter="instruction")


def _mixed(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    message = f"mixed must be a str; got {type(value).__name__}"
    raise InvalidInputError(message, parameter="mixed")


def _count(name: str, value: object, max_model_len: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        message = f"{name} must be a non-negative integer; got {value!r}, 0 is for no limit"
        raise InvalidInputError(message, parameter=name)
    if value >= max_model_len:
        message = f"{name} ({value}) must be less than max_model_len ({max_model_len})."
        raise InvalidInputError(message, parameter=name)
    return value
