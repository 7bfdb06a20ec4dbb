"""Descriptions of models in Ollama's format."""

from pathlib import Path
from typing import Any

from millpond.model.spec import ResolvedModel
from millpond_ollama.names import with_tag
from millpond_ollama.weights import Weights, read_weights

CAPABILITIES = {"embed": "embedding", "score": "rerank"}
UNITS = ((10**9, "B"), (10**6, "M"), (10**3, "K"))
CONFIG_KEYS = {"num_hidden_layers": "block_count", "num_attention_heads": "attention.head_count"}


def tagged_model(name: str, config: ResolvedModel) -> dict[str, Any]:
    """Return the item of a model in the list of all models."""
    weights = read_weights(Path(config.identity.path))
    return {
        "name": with_tag(name),
        "model": with_tag(name),
        "modified_at": weights.modified_at,
        "size": weights.size,
        "digest": weights.digest,
        "details": _details(config, weights),
    }


def full_description(name: str, config: ResolvedModel, tasks: tuple[str, ...]) -> dict[str, Any]:
    """Return the description of a model.

    Args:
        name: Its name.
        config: The facts about the model.
        tasks: Its tasks.
    """
    weights = read_weights(Path(config.identity.path))
    return {
        "modelfile": f"FROM {with_tag(name)}\n",
        "parameters": f"num_ctx {config.max_model_len}",
        "template": "{{ .Prompt }}",
        "details": _details(config, weights),
        "model_info": _model_info(config, weights),
        "capabilities": [capability for task, capability in CAPABILITIES.items() if task in tasks],
        "modified_at": weights.modified_at,
    }


def _details(config: ResolvedModel, weights: Weights) -> dict[str, Any]:
    family = _family(config)
    return {
        "parent_model": "",
        "format": weights.format,
        "family": family,
        "families": [family],
        "parameter_size": _short_number(weights.num_parameters) if weights.num_parameters else "",
        "quantization_level": weights.dtype,
    }


def _model_info(config: ResolvedModel, weights: Weights) -> dict[str, Any]:
    """Return values of config.json under the names of GGUF files."""
    family = _family(config)
    facts: dict[str, Any] = {
        "general.architecture": family,
        "general.parameter_count": weights.num_parameters,
        f"{family}.context_length": config.max_model_len,
    }
    if config.embedding.size is not None:
        facts[f"{family}.embedding_length"] = config.embedding.size
    values = config.hf_config.of_text
    return facts | {f"{family}.{name}": values[key] for key, name in CONFIG_KEYS.items() if key in values}


def _family(config: ResolvedModel) -> str:
    return str(config.hf_config.get("model_type") or config.identity.architecture.lower())


def _short_number(number: int) -> str:
    """Return a number with a unit: 22713216 is 22.71M."""
    for size, unit in UNITS:
        if number >= size:
            return f"{number / size:.2f}{unit}"
    return str(number)
