"""Rule for the maximum input length of a model: which of the lengths that its files state applies."""

import logging
import os
from collections.abc import Sequence

from millpond.model.layers import DEFAULT, USER, Layers
from millpond.model.spec import StatedLength
from millpond.types.errors import InvalidInputError

FORMAT_PATH, PATH = "files.max_length", "files.lengths"
DEFAULT_MAX_LENGTH = 2048
ALLOW_LONG_VARIABLE = "MILLPOND_ALLOW_LONG_MAX_MODEL_LEN"
CONFIG_ROLES = ("config", "table", "trained")
logger = logging.getLogger(__name__)


def stated_lengths(layers: Layers) -> tuple[StatedLength, ...]:
    """Return every maximum length that the files state, in tokens."""
    layer = layers.find(FORMAT_PATH)
    lengths: tuple[StatedLength, ...] = layers.get(PATH, ())
    if layer is None:
        return lengths
    key = layer.keys.get(FORMAT_PATH, "")
    return (StatedLength(layer.values[FORMAT_PATH], layer.name, key, role="format"), *lengths)


def choose_length(
    statements: Sequence[StatedLength], *, positions: str, requested: int | None, query_document_length: int = 0
) -> StatedLength:
    """Choose the maximum length: the caller's, else the checkpoint format's, else the minimum of config and tokenizer.

    Without a request of the caller, the length of the training is an upper bound; a request over it is accepted with a
    warning, up to the length that other files state. Queries and documents of late interaction may be as long as their
    own settings state, even if the other files state less: some formats state a maximum without the marker token.

    Args:
        statements: The maximum lengths in the files.
        positions: The kind of positions of the architecture.
        requested: The maximum that the caller requested; None for the default.
        query_document_length: The longest query or document that the files allow; 0 if they do not state it.

    Raises:
        InvalidInputError: If the request exceeds the checkpoint's maximum or the size of the position table.
    """
    is_absolute = positions.startswith("absolute")
    table = _lowest(statements, "table") if is_absolute else None
    formats = [it for it in statements if it.role == "format"]
    roles = (*CONFIG_ROLES, "limit", *(("tokenizer",) if is_absolute else ()))
    default = StatedLength(DEFAULT_MAX_LENGTH, DEFAULT, "")
    chosen = formats[0] if formats else _lowest(statements, *roles) or default
    limit = min((it.value for it in statements if it.role in CONFIG_ROLES), default=query_document_length)
    if min(query_document_length, limit) > chosen.value:
        chosen = StatedLength(min(query_document_length, limit), "the length of queries and documents", "")
    longest = chosen
    for bound in filter(None, (_lowest(statements, "trained"), table)):
        chosen = min(chosen, bound, key=_value)
    if requested is None:
        return chosen
    _check_request(requested, chosen, longest, table)
    return StatedLength(requested, USER, "")


def _check_request(requested: object, chosen: StatedLength, longest: StatedLength, table: StatedLength | None) -> None:
    """Refuse a maximum over those that the files state; warn of one over the length of the training."""
    if isinstance(requested, bool) or not isinstance(requested, int) or requested < 1:
        message = f"max_model_len must be a positive number of tokens; got {requested!r}"
        raise InvalidInputError(message, parameter="max_model_len")
    if table is not None and requested > table.value:
        message = (
            f"max_model_len={requested} exceeds the {table.value} position embeddings of the model: pass {table.value} "
            "or less"
        )
        raise InvalidInputError(message, parameter="max_model_len")
    if chosen.value < requested <= longest.value:
        logger.warning(
            "max_model_len=%d is over the %d tokens that the model was trained for, stated by %s; %s allows %d. "
            "Results may be poor beyond the length of the training",
            *(requested, chosen.value, chosen, longest, longest.value),
        )
    elif requested > chosen.value and os.environ.get(ALLOW_LONG_VARIABLE) != "1":
        message = (
            f"max_model_len={requested} exceeds the model's maximum of {chosen.value} tokens, stated by {chosen}. "
            "Results may be poor beyond the length that a model was trained for; set "
            f"{ALLOW_LONG_VARIABLE}=1 to allow it"
        )
        raise InvalidInputError(message, parameter="max_model_len")


def _lowest(statements: Sequence[StatedLength], *roles: str) -> StatedLength | None:
    return min((it for it in statements if it.role in roles), key=_value, default=None)


def _value(length: StatedLength) -> int:
    return length.value
