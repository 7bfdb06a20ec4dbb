"""The argument ``texts`` of ``LLM.entities`` before 0.2, which is ``prompts`` as in every other method."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from millpond.compat.warn import warn_caller


def accepts_texts(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that also accepts its prompts as the keyword ``texts``, with a DeprecationWarning."""

    @wraps(method)
    def call(self: object, *prompts: object, **options: Any) -> Any:
        if not prompts and "prompts" not in options and "texts" in options:
            warn_caller("the argument `texts` was renamed: pass `prompts`")
            options["prompts"] = options.pop("texts")
        return method(self, *prompts, **options)

    return call
