"""Keys of config.json that name the activation of scores in older cross-encoders; vLLM reads them too."""

from typing import Any, Final

from millpond.types.config import CheckpointConfig

KEYS: Final = ("sentence_transformers", "sbert_ce_default_activation_function")


def activations_in(config: CheckpointConfig) -> list[tuple[Any, str]]:
    """Return the activations in config.json with their origins, in descending order of precedence."""
    section = config.get(KEYS[0])
    inner = section.get("activation_fn") if isinstance(section, CheckpointConfig) else None
    return [(inner, f"config.json ({KEYS[0]}.activation_fn)"), (config.get(KEYS[1]), f"config.json ({KEYS[1]})")]
