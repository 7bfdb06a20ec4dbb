"""Maximum input lengths in config.json and the tokenizer's files."""

from collections.abc import Iterator, Mapping

from millpond.model.config_source import ConfigSource
from millpond.model.repository import Repository
from millpond.model.spec import StatedLength
from millpond.types.config import CheckpointConfig

CONFIG_KEYS = {
    "max_position_embeddings": "table",
    "n_positions": "table",
    "max_seq_len": "config",
    "seq_length": "config",
    "model_max_length": "config",
    "max_sequence_length": "config",
    "max_trained_positions": "trained",
}
"""The keys of config.json, with the roles of their values."""
ROPE_KEYS = ("rope_scaling", "rope_parameters")
NO_LIMIT_FROM = 10**9  # tokenizer_config.json contains numbers such as 1e30 for "no limit"


def read_lengths(source: ConfigSource) -> tuple[StatedLength, ...]:
    """Return the maximum lengths that the files state, in tokens."""
    return (*_of_config(source), *_of_tokenizer(source.repository))


def _of_config(source: ConfigSource) -> Iterator[StatedLength]:
    config, positions = source.config, source.architecture.spec.text.positions
    unusable = _padding_id(config) + 1 if positions == "absolute_after_pad" else 0
    for key, role in CONFIG_KEYS.items():
        value = _number(config.get(key, config.of_text.get(key)))
        if value is not None and not (role == "trained" and _is_stretched(config)):
            yield StatedLength(value - unusable, "config.json", key, role=role)


def _of_tokenizer(repository: Repository) -> Iterator[StatedLength]:
    value = _number(repository.reader.tokenizer_config.get("model_max_length"))
    if value is not None:
        role = "limit" if repository.layers.get("files.tokenizer_limits_length", default=False) else "tokenizer"
        yield StatedLength(value, "tokenizer_config.json", "model_max_length", role=role)


def _padding_id(config: CheckpointConfig) -> int:
    """The padding id of a model whose positions start after it; 1, like RoBERTa's, if config.json has none."""
    value = config.get("pad_token_id")
    return value if isinstance(value, int) else 1


def _is_stretched(config: CheckpointConfig) -> bool:
    """True if config.json scales rotary positions beyond the length of the training."""
    options = [rope for key in ROPE_KEYS if isinstance(rope := config.get(key), Mapping)]
    types = [rope.get("rope_type") or rope.get("type") or "default" for rope in options]
    return config.get("rotary_scaling_factor") is not None or any(name != "default" for name in types)


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < NO_LIMIT_FROM:
        return None
    return int(value)
