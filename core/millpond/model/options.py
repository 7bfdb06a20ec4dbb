"""LoadOptions: the caller's options for loading a model, and their check. Does not import torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from millpond.types.config import CheckpointConfig, InputOptions, PoolerConfig
from millpond.types.errors import InvalidInputError

Overrides = Mapping[str, Any] | Callable[[CheckpointConfig], Any] | None
REWARD = "reward"  # convert value of vLLM in 2025: rewards if the model has a reward head, else token hidden states
RUNNERS = ("auto", "pooling", "generate", "draft")


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """The caller's options for loading a model; see ``millpond.LLM``."""

    runner: str = "auto"
    convert: str = "auto"
    model_impl: str = "auto"
    dtype: str = "auto"
    max_model_len: int | None = None
    pooler_config: PoolerConfig = field(default_factory=PoolerConfig)
    hf_overrides: Overrides = None
    allow_pickle: bool = False
    skip_tokenizer: bool = False
    io_processor_plugin: str | None = None
    text_steps: tuple[str, ...] | None = None
    inputs: InputOptions = field(default_factory=InputOptions)


def check_runner(runner: str) -> None:
    """Refuse runners of models that generate text.

    Raises:
        InvalidInputError: If the runner is unknown, or not supported.
    """
    if runner not in RUNNERS:
        message = f"runner={runner!r}: expected one of {', '.join(RUNNERS)}"
        raise InvalidInputError(message, parameter="runner")
    if runner in ("generate", "draft"):
        message = (
            "LLM.encode() is only supported for pooling models. "
            "Try passing `--runner pooling` to use the model as a pooling model."
        )
        raise InvalidInputError(message, parameter="runner")


def override_config(config: CheckpointConfig, overrides: Overrides) -> CheckpointConfig:
    """Return config.json with the caller's overrides: a mapping to merge, or a function of the config."""
    if overrides is None:
        return config
    if callable(overrides):
        overrides = overrides(config)
    if not isinstance(overrides, Mapping):
        message = f"hf_overrides must be a dict, or a function that returns one; got {type(overrides).__name__}"
        raise InvalidInputError(message, parameter="hf_overrides")
    return config.overridden(overrides)
