"""Looks up model classes of transformers and builds their configs, without executing code of a checkpoint.

A config.json is data: classes are only looked up in transformers, and keys that would make transformers download or
execute other code are removed.
"""

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import transformers
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import image_processing_auto, processing_auto
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond_transformers.quiet import quiet

# Names of the processor classes for texts with images, by ``model_type``.
PROCESSORS: Mapping[str, str] = vars(processing_auto)["PROCESSOR_MAPPING_NAMES"]
IMAGE_PROCESSORS: Mapping[str, Mapping[str, str]] = vars(image_processing_auto)["IMAGE_PROCESSOR_MAPPING_NAMES"]
# Keys that select kernels or external code, or that only matter to other loaders.
REMOVED_KEYS = frozenset(
    {
        "_attn_implementation",
        "_attn_implementation_internal",
        "_experts_implementation",
        "attn_implementation",
        "auto_map",
        "custom_pipelines",
        "experts_implementation",
        "fusion_config",
        "transformers_weights",
        "transformers_version",
        "use_mamba_kernels",
    }
)
GENERIC_CLASSES = frozenset({"PreTrainedModel", "EncoderDecoderModel", "RagModel", "SpeechEncoderDecoderModel"})


class NotServedError(Exception):
    """The reason why transformers cannot run an architecture."""


@lru_cache
def find_class(name: str) -> type[PreTrainedModel]:
    """Return the model class of transformers with the given name.

    Raises:
        NotServedError: If the class does not exist, or its main input is not tokens.
    """
    version = transformers.__version__
    model_class = getattr(transformers, name, None) if name in set(dir(transformers)) - GENERIC_CLASSES else None
    if not (inspect.isclass(model_class) and issubclass(model_class, PreTrainedModel)):
        raise NotServedError(f"transformers {version} has no model {name!r}")
    if model_class.main_input_name != "input_ids" or model_class.config_class is None:
        raise NotServedError(f"{name!r} of transformers reads {model_class.main_input_name} instead of tokens")
    return model_class


def find_backbone(name: str) -> type[PreTrainedModel]:
    """Return the class that computes the hidden states of an architecture: itself, or the base model of its family.

    For encoder-decoder models, this is the encoder if it has a class.

    Raises:
        NotServedError: If there is no such class.
    """
    model_class = find_class(name)
    model_type = config_class(model_class).model_type
    if not name.endswith("Model") or name.endswith("LMHeadModel"):
        names: Any = MODEL_MAPPING_NAMES.get(model_type)
        base = names[0] if isinstance(names, tuple) else names
        if base is None:
            raise NotServedError(f"transformers has no model without a head for {name!r}")
        model_class = find_class(base)
    encoder = f"{model_class.__name__.removesuffix('Model')}EncoderModel"
    try:
        return find_class(encoder)
    except NotServedError:
        return model_class


def config_class(model_class: type[PreTrainedModel]) -> type[PreTrainedConfig]:
    """Return the config class of a model class."""
    assert model_class.config_class is not None, "find_class requires a config class"  # noqa: S101
    return model_class.config_class


def is_decoder(model_class: type[PreTrainedModel]) -> bool:
    """Return True if the family has generative models and no masked language models."""
    model_type = config_class(model_class).model_type
    if model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return False
    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def build_config(model_class: type[PreTrainedModel], config: CheckpointConfig, num_labels: int) -> PreTrainedConfig:
    """Build the config of a model class.

    Args:
        model_class: The model class.
        config: config.json.
        num_labels: Number of classes or scores of a classifier; 0 for other models.

    Raises:
        CheckpointError: If the class rejects the config, or the checkpoint is quantized.
    """
    values = _remove_keys(config.to_dict())
    values.pop("architectures", None)
    if values.get("quantization_config"):
        message = f"{model_class.__name__} runs with transformers, for which quantized checkpoints are not supported"
        raise CheckpointError(message)
    values.pop("model_type", None)
    names = values.pop("id2label", None)
    values.pop("num_labels", None)
    values.pop("label2id", None)
    labels: dict[str, Any] = {"num_labels": num_labels} if num_labels else {}
    if isinstance(names, Mapping) and len(names) == num_labels:
        labels = {"id2label": dict(names), "label2id": {str(name): int(i) for i, name in names.items()}}
    try:
        with quiet():
            model_config: PreTrainedConfig = config_class(model_class).from_dict({**values, **labels})
    except Exception as error:  # the library raises any type for an invalid config
        message = f"transformers' {model_class.__name__} rejects this config.json: {type(error).__name__}: {error}"
        raise CheckpointError(message) from error
    model_config.use_cache = False
    if getattr(model_config, "use_mems_eval", False):
        model_config.use_mems_eval = False
    return model_config


def _remove_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _remove_keys(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if key not in REMOVED_KEYS
    }
