"""Keys of config.json under which older cross-encoders name the activation of their scores, as vLLM reads them too."""

from typing import Any, Final

from millpond.types.config import CheckpointConfig

KEYS: Final = ("sentence_transformers", "sbert_ce_default_activation_function")


def activations_in(config: CheckpointConfig) -> list[tuple[Any, str]]:
    """The activations that config.json names, each with its origin; those that count most first."""
    own = config.get(KEYS[0])
    inner = own.get("activation_fn") if isinstance(own, CheckpointConfig) else None
    return [(inner, f"config.json ({KEYS[0]}.activation_fn)"), (config.get(KEYS[1]), f"config.json ({KEYS[1]})")]
