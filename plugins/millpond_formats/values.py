"""Validated values from the files of late interaction models: texts, numbers of tokens, and query expansion."""

import string
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from millpond.types.errors import CheckpointError
from millpond.types.late_interaction import Expansion, LateInteraction

QUERY_LENGTH = 32  # the default number of tokens
PUNCTUATION = tuple(string.punctuation)
STRATEGIES = ("fixed", "min")


def text_at(settings: Mapping[str, Any], key: str, path: Path) -> str:
    """Return the text of a key; empty if the key is missing.

    Raises:
        CheckpointError: If the value is not a text.
    """
    value = settings.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    message = f"{path}: {key} must be text; got {value!r}"
    raise CheckpointError(message)


def count_at(settings: Mapping[str, Any], key: str, path: Path) -> int | None:
    """Return the number of tokens of a key; None if the key is missing.

    Raises:
        CheckpointError: If the value is not a positive integer.
    """
    value = settings.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    message = f"{path}: {key} must be a positive number of tokens; got {value!r}"
    raise CheckpointError(message)


def expansion_of(settings: object, path: Path) -> Expansion | None:
    """Return the query expansion in ``query_expansion``; None for no expansion.

    Raises:
        CheckpointError: If the settings are not supported.
    """
    if settings is None:
        return None
    length = settings.get("length") if isinstance(settings, Mapping) else None
    if (
        not isinstance(settings, Mapping)
        or settings.get("strategy") not in STRATEGIES
        or isinstance(length, bool)
        or not isinstance(length, int)
        or length < 1
    ):
        message = (
            f"{path}: query_expansion must be an object with a positive length and the strategy "
            f"{' or '.join(map(repr, STRATEGIES))}; got {settings!r}"
        )
        raise CheckpointError(message)
    token = settings.get("token")
    return Expansion(
        length=length,
        cuts=settings["strategy"] == "fixed",
        attended=bool(settings.get("attend", False)),
        token=token if isinstance(token, str) else None,
    )


def bounded(late_interaction: LateInteraction, max_length: int | None) -> LateInteraction:
    """Set the model's maximum length for queries or documents without their own, if another length exceeds it."""
    if max_length is None or max_length >= late_interaction.longest:
        return late_interaction
    configs = (late_interaction.query, late_interaction.document)
    query, document = (replace(config, length=config.length or max_length) for config in configs)
    return replace(late_interaction, query=query, document=document)
