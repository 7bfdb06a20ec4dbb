"""Options of pairs of texts, and what of them has no effect."""

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
        instruction: What a reranker is to judge by.
        max_tokens_per_query: How many tokens of a query are read; 0 for all.
        max_tokens_per_doc: How many tokens of a document are read; 0 for all.
    """

    chat_template: str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    instruction: str | None = None
    max_tokens_per_query: int = 0
    max_tokens_per_doc: int = 0


def warn_of_templates(options: PairOptions, why: str) -> None:
    """Warn that what only templates use has no effect, and why."""
    for name in ("chat_template", "chat_template_kwargs", "instruction"):
        if getattr(options, name):
            warnings.warn(f"{name} has no effect: {why}", stacklevel=2)
