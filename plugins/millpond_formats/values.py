"""Values of the files of late-interaction models: checked texts, numbers of tokens, and query expansion."""

import string
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from millpond.types.errors import CheckpointError
from millpond.types.late_interaction import Expansion, LateInteraction

QUERY_LENGTH = 32  # where the files do not state it
PUNCTUATION = tuple(string.punctuation)
STRATEGIES = ("fixed", "min")


def text_at(said: Mapping[str, Any], key: str, path: Path) -> str:
    """The text of a key; empty if there is none.

    Raises:
        CheckpointError: If it is something else.
    """
    value = said.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    message = f"{path}: {key} must be text; got {value!r}"
    raise CheckpointError(message)


def count_at(said: Mapping[str, Any], key: str, path: Path) -> int | None:
    """The number of tokens of a key; None if there is none.

    Raises:
        CheckpointError: If it is something else.
    """
    value = said.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    message = f"{path}: {key} must be a positive number of tokens; got {value!r}"
    raise CheckpointError(message)


def expansion_of(said: object, path: Path) -> Expansion | None:
    """What ``query_expansion`` states; None for no expansion.

    Raises:
        CheckpointError: If it is not supported.
    """
    if said is None:
        return None
    length = said.get("length") if isinstance(said, Mapping) else None
    if (
        not isinstance(said, Mapping)
        or said.get("strategy") not in STRATEGIES
        or isinstance(length, bool)
        or not isinstance(length, int)
        or length < 1
    ):
        message = (
            f"{path}: query_expansion must be an object with a positive length and the strategy "
            f"{' or '.join(map(repr, STRATEGIES))}; got {said!r}"
        )
        raise CheckpointError(message)
    token = said.get("token")
    return Expansion(
        length=length,
        cuts=said["strategy"] == "fixed",
        attended=bool(said.get("attend", False)),
        token=token if isinstance(token, str) else None,
    )


def bounded(said: LateInteraction, most: int | None) -> LateInteraction:
    """The same, where a side without a length of its own has that of the model.

    That holds though the other side, or the expansion, is longer.
    """
    if most is None or most >= said.longest:
        return said
    query, document = (replace(side, length=side.length or most) for side in (said.query, said.document))
    return replace(said, query=query, document=document)
