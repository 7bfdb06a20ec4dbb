"""PairOptions: the options of tasks with pairs of texts."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """Options of tasks with pairs of texts.

    Attributes:
        chat_template: The template of a pair, as Jinja text or the path of a file.
        chat_template_kwargs: Further variables of the template.
        instruction: The definition of relevance, for rerankers that take an instruction.
        max_tokens_per_query: The maximum number of tokens of a query; 0 for no limit.
        max_tokens_per_doc: The maximum number of tokens of a document; 0 for no limit.
    """

    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    instruction: str | None = None
    max_tokens_per_query: int = 0
    max_tokens_per_doc: int = 0


def warn_of_templates(options: PairOptions, reason: str) -> None:
    """Warn about options without effect, because no template is used."""
    for name in ("chat_template", "chat_template_kwargs", "instruction"):
        if getattr(options, name):
            warnings.warn(f"{name} has no effect: {reason}", stacklevel=2)
