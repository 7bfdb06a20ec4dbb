"""What vLLM's code reads of a ``model_config`` that Millpond itself has no use for."""

from typing import Any


class VllmModelConfig:
    """The names by which vLLM's code asks what a model is; each says what holds of every model here."""

    model: str
    architecture: str
    hf_config: Any
    modalities: tuple[str, ...]

    @property
    def runner_type(self) -> str:
        """``pooling``: no model generates."""
        return "pooling"

    @property
    def served_model_name(self) -> str:
        """The name that the caller used."""
        return self.model

    @property
    def architectures(self) -> list[str]:
        """Those of config.json, and the one that serves the model."""
        named = self.hf_config.get("architectures") or ()
        return list(dict.fromkeys((*named, self.architecture)))

    @property
    def is_multimodal_model(self) -> bool:
        """Whether it reads more than text."""
        return self.modalities != ("text",)
