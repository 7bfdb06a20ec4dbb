"""Maximum input length of a model: the values in its files, and which of them applies."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond.model.layers import DEFAULT, USER
from millpond.types.config import CheckpointConfig
from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from millpond.model.repository import Repository

CONFIG_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_sequence_length",
    "max_trained_positions",
)
STATED_PATH = "files.max_length"
TRAINED_KEY = "max_trained_positions"
POSITION_TABLE_KEYS = ("max_position_embeddings", "n_positions")
ROPE_KEYS = ("rope_scaling", "rope_parameters")
DEFAULT_MAX_LENGTH = 2048
NO_LIMIT_FROM = 10**9  # tokenizer_config.json contains numbers such as 1e30 for "no limit"
ALLOW_LONG_VARIABLE = "MILLPOND_ALLOW_LONG_MAX_MODEL_LEN"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StatedLength:
    """The maximum length that one file states.

    Attributes:
        value: The maximum in tokens.
        file: The file.
        key: The key in the file.
        is_limit: True if the tokenizer's maximum applies to models with any kind of positions, as the checkpoint format
            specifies.
        takes_precedence: True if the value takes precedence over config.json and the tokenizer's files.
    """

    value: int
    file: str
    key: str
    is_limit: bool = False
    takes_precedence: bool = False

    def __str__(self) -> str:
        return f"{self.file} ({self.key})" if self.key else self.file


def state_lengths(repository: "Repository", config: CheckpointConfig, *, positions: str) -> list[StatedLength]:
    """Return every maximum length that the files state, in tokens."""
    statements: list[StatedLength] = []
    layer = repository.layers.find(STATED_PATH)
    if layer is not None:
        key = layer.keys.get(STATED_PATH, "")
        statements.append(StatedLength(layer.values[STATED_PATH], layer.name, key, takes_precedence=True))
    unusable = padding_id(config) + 1 if positions == "absolute_after_pad" else 0
    for key in CONFIG_KEYS:
        value = _number(config.get(key, config.of_text.get(key)))
        if value is not None and not (key == TRAINED_KEY and _is_stretched(config)):
            statements.append(StatedLength(value - unusable, "config.json", key))
    value = _number(repository.tokenizer_config.get("model_max_length"))
    if value is not None:
        is_limit = repository.layers.get("files.tokenizer_limits_length", default=False)
        statements.append(StatedLength(value, "tokenizer_config.json", "model_max_length", is_limit=is_limit))
    truncation = repository.tokenizer_settings["truncation"]
    value = _number(truncation.get("max_length")) if isinstance(truncation, dict) else None
    if value is not None:
        statements.append(StatedLength(value, "tokenizer.json", "truncation.max_length"))
    return statements


def padding_id(config: CheckpointConfig) -> int:
    """Return the padding id of a model whose positions start after it; 1, like RoBERTa's, if config.json has none."""
    value = config.get("pad_token_id")
    return value if isinstance(value, int) else 1


def choose_length(
    statements: list[StatedLength], *, positions: str, requested: int | None, query_document_length: int = 0
) -> StatedLength:
    """Choose the maximum length: the caller's, else the checkpoint format's, else the minimum of config and tokenizer.

    Without a request of the caller, ``max_trained_positions`` of config.json is an upper bound, unless the rotary
    positions are scaled; a request over it is accepted with a warning, up to the length that other files state. Queries
    and documents of late interaction may be as long as their own settings state, even if the other files state less:
    some formats state a maximum without the marker token.

    Args:
        statements: The maximum lengths in the files.
        positions: The kind of positions of the architecture.
        requested: The maximum that the caller requested; None for the default.
        query_document_length: The longest query or document that the files allow; 0 if they do not state it.

    Raises:
        InvalidInputError: If the request exceeds the checkpoint's maximum or the size of the position table.
    """
    of_tables = [it for it in statements if it.key in POSITION_TABLE_KEYS] if positions.startswith("absolute") else []
    table = min(of_tables, key=_value, default=None)
    chosen = _stated(statements, with_tokenizer=positions.startswith("absolute"))
    limit = min((it.value for it in statements if it.file == "config.json"), default=query_document_length)
    if min(query_document_length, limit) > chosen.value:
        chosen = StatedLength(min(query_document_length, limit), "the length of queries and documents", "")
    longest = chosen
    trained = min((it for it in statements if it.key == TRAINED_KEY), key=_value, default=None)
    for bound in filter(None, (trained, table)):
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


def _stated(statements: list[StatedLength], *, with_tokenizer: bool) -> StatedLength:
    for statement in statements:
        if statement.takes_precedence:
            return statement
    files = ("config.json", "tokenizer_config.json") if with_tokenizer else ("config.json",)
    limits = (it for it in statements if it.file in files or it.is_limit)
    return min(limits, key=_value, default=StatedLength(DEFAULT_MAX_LENGTH, DEFAULT, ""))


def _value(length: StatedLength) -> int:
    return length.value


def _is_stretched(config: CheckpointConfig) -> bool:
    """True if config.json scales rotary positions beyond the length of the training."""
    options = [rope for key in ROPE_KEYS if isinstance(rope := config.get(key), Mapping)]
    types = [rope.get("rope_type") or rope.get("type") or "default" for rope in options]
    return config.get("rotary_scaling_factor") is not None or any(name != "default" for name in types)


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < NO_LIMIT_FROM:
        return None
    return int(value)
