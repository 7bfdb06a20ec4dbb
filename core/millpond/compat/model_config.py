"""Attributes of ``model_config`` for vLLM's code, and attributes that had no group before 0.2."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, Final, TypeVar

from millpond.compat.warn import warn_caller

T = TypeVar("T")

GROUPED: Final[Mapping[str, tuple[str, str]]] = {
    **{name: ("identity", name) for name in ("path", "source", "architecture", "implementation")},
    "embedding_size": ("embedding", "size"),
    "full_embedding_size": ("embedding", "full_size"),
    **{name: ("embedding", name) for name in ("truncate_dim", "normalizes", "similarity", "sparse", "max_active_dims")},
    "num_labels": ("classification", "num_labels"),
    "classifier_activation": ("classification", "activation"),
    **{name: ("retrieval", name) for name in ("late_interaction", "late_similarity", "routes")},
    "query_table": ("retrieval", "static_query_weights"),
    "tells_sides": ("retrieval", "has_input_types"),
    **{name: ("multimodal", name) for name in ("modalities", "image_reader")},
    "default_prompt_name": ("prompting", "default_name"),
    **{
        name: ("prompting", name)
        for name in (
            "prompts",
            "include_prompt",
            "adapters",
            "chat_template",
            "rerank_template",
            "io_processor_plugin",
        )
    },
}
"""The group and the name of each former attribute of ``ModelConfig``."""


class VllmModelConfig:
    """Base class of ``ModelConfig`` with attributes of vLLM's model config."""

    model: str
    hf_config: Any
    identity: Any
    embedding: Any
    multimodal: Any
    prompting: Any

    @property
    def runner_type(self) -> str:
        """Return ``pooling``: no model generates text."""
        return "pooling"

    @property
    def served_model_name(self) -> str:
        """Return the name that the caller used."""
        return self.model

    @property
    def architecture(self) -> str:
        """Return the name of the architecture that serves the model."""
        name: str = self.identity.architecture
        return name

    @property
    def architectures(self) -> list[str]:
        """Return the architectures in config.json, and the one that serves the model."""
        named = self.hf_config.get("architectures") or ()
        return list(dict.fromkeys((*named, self.architecture)))

    @property
    def embedding_size(self) -> int | None:
        """Return the default number of dimensions of an embedding; None if config.json does not state it."""
        size: int | None = self.embedding.size
        return size

    @property
    def io_processor_plugin(self) -> str | None:
        """Return the name of the IO processor of the task "plugin"; None for none."""
        name: str | None = self.prompting.io_processor_plugin
        return name

    @property
    def is_multimodal_model(self) -> bool:
        """Return True if the model has other inputs than text."""
        modalities: tuple[str, ...] = self.multimodal.modalities
        return modalities != ("text",)


def accepts_flat_attributes(groups: Mapping[str, Callable[..., Any]]) -> Callable[[type[T]], type[T]]:
    """Accept the attributes of ``ModelConfig`` before 0.2, with a DeprecationWarning.

    Args:
        groups: The classes of the groups, by the names of their fields.
    """

    def extended(record: type[T]) -> type[T]:
        original: Callable[..., None] = record.__init__

        @wraps(original)
        def initialize(self: T, **fields: Any) -> None:
            flat = {name: fields.pop(name) for name in [*fields] if name in GROUPED}
            if flat:
                _warn(*flat)
            for group in dict.fromkeys(GROUPED[name][0] for name in flat):
                stated = {GROUPED[name][1]: value for name, value in flat.items() if GROUPED[name][0] == group}
                fields[group] = replace(fields[group], **stated) if group in fields else groups[group](**stated)
            original(self, **fields)

        def read(self: object, name: str) -> Any:
            if name not in GROUPED:
                message = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(message)
            _warn(name)
            group, attribute = GROUPED[name]
            return getattr(getattr(self, group), attribute)

        record.__init__ = initialize  # type: ignore[method-assign, assignment]  # also accepts the former attributes
        record.__getattr__ = read  # type: ignore[attr-defined]
        return record

    return extended


def _warn(*names: str) -> None:
    old = ", ".join(f"`model_config.{name}`" for name in names)
    new = ", ".join(f"`model_config.{'.'.join(GROUPED[name])}`" for name in names)
    warn_caller(f"{old} {'was' if len(names) == 1 else 'were'} renamed: use {new}")
