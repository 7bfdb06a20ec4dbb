"""Attributes of ``model_config`` that exist only because code written for vLLM reads them."""

from typing import Any


class VllmModelConfig:
    """Base class of ``ModelConfig`` with the attributes that only vLLM has."""

    model: str
    architecture: str
    hf_config: Any
    modalities: tuple[str, ...]

    @property
    def runner_type(self) -> str:
        """Return ``pooling``: no model generates text."""
        return "pooling"

    @property
    def served_model_name(self) -> str:
        """Return the name that the caller used."""
        return self.model

    @property
    def architectures(self) -> list[str]:
        """Return those of config.json, and the one that serves the model."""
        named = self.hf_config.get("architectures") or ()
        return list(dict.fromkeys((*named, self.architecture)))

    @property
    def is_multimodal_model(self) -> bool:
        """Return True if it reads more than text."""
        return self.modalities != ("text",)
