"""Checks of the sizes in config.json: each must be a number that fits the weights. Does not import torch."""

import re
from collections.abc import Iterator, Sequence
from math import prod

from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_checkpoints.headers import TensorHeader

LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
COUNT_KEY = re.compile(r"(n|num)_\w*(layers?|blocks|groups|experts)|depth")
WIDTH_KEYS = ("vocab_size", "hidden_size", "intermediate_size", "type_vocab_size")  # each a dimension of a tensor
SIZE_KEYS = (
    *("hidden_size", "intermediate_size", "type_vocab_size", "vocab_size", "projection_dim", "head_dim"),
    *("max_position_embeddings", "num_attention_heads", "num_key_value_heads", "image_size", "patch_size"),
    *("n_embd", "n_head", "n_heads", "n_inner", "n_positions", "dim", "hidden_dim", "d_model", "d_ff"),
    *LAYER_KEYS,
)
SIDE_KEYS = ("image_size", "patch_size")  # may be objects with height and width
NONZERO_KEYS = ("hidden_size", "n_embd", "dim", "d_model", "num_attention_heads", "n_head", "n_heads")
MAX_WIDTH = 2**24  # of any checkpoint: a nested config may state the width of a part that is not used
EPSILONS = ("_eps", "_epsilon")
MAX_LAYERS = 10_000  # for a checkpoint whose tensors cannot be counted from its headers


def check_sizes(config: CheckpointConfig, headers: Sequence[TensorHeader], *, is_foreign: bool) -> None:
    """Reject sizes that are not numbers or do not fit the weights, and an epsilon that is not small.

    Args:
        config: config.json with the caller's overrides.
        headers: The headers of the weights; empty if they have none.
        is_foreign: True for a plugin's model. It may split one tensor into several layers, or use a layer several
            times: its number of layers is bounded by the number of values. Other sizes are not checked.

    Raises:
        CheckpointError: If a value is not a size, or is too large.
    """
    num_values = sum(map(prod, [header.shape for header in headers]))
    unit, limit = ("values", num_values) if is_foreign and headers else ("tensors", len(headers) or MAX_LAYERS)
    for key, value in _values(config):
        name = key.rpartition(".")[2]
        has_sides = name in SIDE_KEYS and isinstance(value, CheckpointConfig)
        if name in SIZE_KEYS and not has_sides and not is_foreign:
            _check_kind(key, value, minimum=int(name in NONZERO_KEYS))
        if not isinstance(value, int | float):
            continue
        if name.endswith(EPSILONS):
            _check_epsilon(key, value)
        elif isinstance(value, float):
            continue
        elif name in LAYER_KEYS or COUNT_KEY.fullmatch(name):
            _check(key, value, limit if name in LAYER_KEYS else max(limit, MAX_LAYERS), f"{limit} {unit}")
        elif name in WIDTH_KEYS and headers and not is_foreign:
            _check(key, value, max(num_values, MAX_WIDTH), f"{num_values} values")


def _check_kind(key: str, value: object, minimum: int) -> None:
    if not isinstance(value, int) or value < minimum:
        shown = value.to_dict() if isinstance(value, CheckpointConfig) else value
        message = f"config.json specifies {key}={shown!r:.80}; expected an integer of at least {minimum}"
        raise CheckpointError(message)


def _check_epsilon(key: str, value: float) -> None:
    if not 0 <= value < 1:
        message = f"config.json specifies {key}={value}; expected a small positive number, such as 1e-12"
        raise CheckpointError(message)


def _check(key: str, value: int, limit: int, contained: str) -> None:
    if value > limit:
        message = f"config.json specifies {key}={value}, but the weights contain only {contained}"
        raise CheckpointError(message)


def _values(config: CheckpointConfig, prefix: str = "") -> Iterator[tuple[str, float | str | CheckpointConfig]]:
    """Yield the numbers, strings and objects of a config and of those nested in it, with their keys."""
    for key, value in config.items():
        if isinstance(value, int | float | str | CheckpointConfig):
            yield f"{prefix}{key}", value
        if isinstance(value, CheckpointConfig):
            yield from _values(value, f"{prefix}{key}.")
