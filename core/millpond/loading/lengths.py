"""How many tokens a model takes: what each file states, and which statement counts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from millpond.loading.files import read_object
from millpond.types.checkpoint import value_of
from millpond.types.config import CheckpointConfig, Choice
from millpond.types.errors import InvalidInputError

if TYPE_CHECKING:
    from millpond.loading.repository import Repository

CONFIG_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_sequence_length",
    "max_trained_positions",
)
TRAINED = "max_trained_positions"
TABLES = ("max_position_embeddings", "n_positions")
ROPE_KEYS = ("rope_scaling", "rope_parameters")
FALLBACK = 2048
UNBOUNDED = 10**9  # tokenizer_config.json writes numbers such as 1e30 for "no limit"
ALLOW_LONG = "MILLPOND_ALLOW_LONG_MAX_MODEL_LEN"


@dataclass(frozen=True)
class Statement:
    """What one file says the maximum is.

    Attributes:
        value: In tokens.
        file: The file.
        key: Where it says so.
        binds: True if what a tokenizer states bounds models of any kind of positions, as the files of the checkpoint
            have it.
        counts: True if it goes before what config.json and the tokenizer's files state.
    """

    value: int
    file: str
    key: str
    binds: bool = False
    counts: bool = False

    def __str__(self) -> str:
        return f"{self.file} ({self.key})" if self.key else self.file


def state_lengths(repository: "Repository", config: CheckpointConfig, *, positions: str) -> list[Statement]:
    """Everything that the files say of the maximum, in tokens."""
    said: list[Statement] = []
    longest = repository.facts.text.max_length
    if longest is not None:
        file, _, key = longest.origin.removesuffix(")").partition(" (")
        said.append(Statement(longest.value, file, key, counts=True))
    unusable = padding_id(config) + 1 if positions == "absolute_after_pad" else 0
    for key in CONFIG_KEYS:
        value = _number(config.get(key, config.of_text.get(key)))
        if value is not None and not (key == TRAINED and _is_stretched(config)):
            said.append(Statement(value - unusable, "config.json", key))
    value = _number(repository.tokenizer_config.get("model_max_length"))
    if value is not None:
        binds = bool(value_of(repository.facts.text.tokenizer_binds))
        said.append(Statement(value, "tokenizer_config.json", "model_max_length", binds=binds))
    truncation = read_object(repository.transformer_path / "tokenizer.json").get("truncation")
    value = _number(truncation.get("max_length")) if isinstance(truncation, dict) else None
    if value is not None:
        said.append(Statement(value, "tokenizer.json", "truncation.max_length"))
    return said


def padding_id(config: CheckpointConfig) -> int:
    """The padding id of a model whose positions start behind it; 1, as RoBERTa has it, where config.json says none."""
    value = config.get("pad_token_id")
    return value if isinstance(value, int) else 1


def choose_length(said: list[Statement], *, positions: str, asked: int | None, of_sides: int = 0) -> Choice:
    """The maximum that counts: the caller's, else that of the format, else the least of config and tokenizer.

    What config.json says of the training (``max_trained_positions``) is over all but the caller's, unless rotary
    positions are stretched. Queries or documents of late interaction may be as long as their own files say, though the
    rest states less: some formats state a maximum without their marker.

    Args:
        said: What the files state.
        positions: The kind of positions of the architecture.
        asked: What the caller asks for; None for nothing.
        of_sides: The longest query or document that the files say; 0 for nothing.

    Raises:
        InvalidInputError: If the caller asks for more than the checkpoint states, or than the position table holds.
    """
    table = min((s.value for s in said if s.key in TABLES), default=None)
    table = table if positions.startswith("absolute") else None
    chosen = _stated(said, with_tokenizer=positions.startswith("absolute"))
    most = min((s.value for s in said if s.file == "config.json"), default=of_sides)
    if min(of_sides, most) > chosen.value:
        chosen = Choice(value=min(of_sides, most), origin="the length of queries and documents")
    trained = min((s.value for s in said if s.key == TRAINED), default=None)
    if trained is not None and chosen.value > trained:
        chosen = Choice(value=trained, origin=f"config.json ({TRAINED})")
    if table is not None and chosen.value > table:
        chosen = Choice(value=table, origin=str(next(s for s in said if s.key in TABLES)))
    if asked is None:
        return chosen
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        message = f"max_model_len must be a positive number of tokens; got {asked!r}"
        raise InvalidInputError(message, parameter="max_model_len")
    if table is not None and asked > table:
        message = f"max_model_len={asked} is over the {table} position embeddings that the model has"
        raise InvalidInputError(message, parameter="max_model_len")
    if asked > chosen.value and os.environ.get(ALLOW_LONG) != "1":
        message = (
            f"max_model_len={asked} is over the model's maximum of {chosen.value} tokens, stated by {chosen.origin}. "
            f"Results beyond what a model was trained for may be poor; {ALLOW_LONG}=1 in the environment allows it"
        )
        raise InvalidInputError(message, parameter="max_model_len")
    return Choice(value=asked, origin="user")


def _stated(said: list[Statement], *, with_tokenizer: bool) -> Choice:
    for statement in said:
        if statement.counts:
            return Choice(value=statement.value, origin=str(statement))
    files = ("config.json", "tokenizer_config.json") if with_tokenizer else ("config.json",)
    least = min((s for s in said if s.file in files or s.binds), key=lambda s: s.value, default=None)
    return Choice(value=FALLBACK, origin="default") if least is None else Choice(value=least.value, origin=str(least))


def _is_stretched(config: CheckpointConfig) -> bool:
    """Whether config.json has rotary positions reach further than in the training."""
    options = [given for key in ROPE_KEYS if isinstance(given := config.get(key), Mapping)]
    kinds = [given.get("rope_type") or given.get("type") or "default" for given in options]
    return config.get("rotary_scaling_factor") is not None or any(kind != "default" for kind in kinds)


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < UNBOUNDED:
        return None
    return int(value)
