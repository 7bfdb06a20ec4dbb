"""Which class of transformers runs an architecture, and the config it is built with. Nothing here runs a checkpoint's.

A config.json is data: classes are looked up in transformers alone, and keys that would have transformers fetch or run
something else are left out.
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

# The names of the classes that make tokens and values of texts with images, by the type of a model.
PROCESSORS: Mapping[str, str] = vars(processing_auto)["PROCESSOR_MAPPING_NAMES"]
IMAGE_PROCESSORS: Mapping[str, Mapping[str, str]] = vars(image_processing_auto)["IMAGE_PROCESSOR_MAPPING_NAMES"]
# They name kernels and code from elsewhere, or how others load the file.
LEFT_OUT = frozenset(
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
GENERAL = frozenset({"PreTrainedModel", "EncoderDecoderModel", "RagModel", "SpeechEncoderDecoderModel"})


class NotServedError(Exception):
    """Why transformers cannot run an architecture."""


@lru_cache
def find_class(name: str) -> type[PreTrainedModel]:
    """The class of that name in transformers.

    Raises:
        NotServedError: If there is none, or it reads something else than tokens.
    """
    version = transformers.__version__
    found = getattr(transformers, name, None) if name in set(dir(transformers)) - GENERAL else None
    if not (inspect.isclass(found) and issubclass(found, PreTrainedModel)):
        raise NotServedError(f"transformers {version} has no model {name!r}")
    if found.main_input_name != "input_ids" or found.config_class is None:
        raise NotServedError(f"{name!r} of transformers reads {found.main_input_name}, and not tokens")
    return found


def find_backbone(name: str) -> type[PreTrainedModel]:
    """The class that gives the hidden states of an architecture: its own, or that of its family without a head.

    Of models that read a text by an encoder and write by a decoder, it is the encoder where that has a class.

    Raises:
        NotServedError: If there is none.
    """
    found = find_class(name)
    kind = config_class(found).model_type
    if not name.endswith("Model") or name.endswith("LMHeadModel"):
        named: Any = MODEL_MAPPING_NAMES.get(kind)
        base = named[0] if isinstance(named, tuple) else named
        if base is None:
            raise NotServedError(f"transformers has no model behind {name!r} that is without a head")
        found = find_class(base)
    encoder = f"{found.__name__.removesuffix('Model')}EncoderModel"
    try:
        return find_class(encoder)
    except NotServedError:
        return found


def config_class(found: type[PreTrainedModel]) -> type[PreTrainedConfig]:
    """The class of a model's config."""
    assert found.config_class is not None, "find_class gives none without"  # noqa: S101
    return found.config_class


def is_decoder(found: type[PreTrainedModel]) -> bool:
    """Whether the models of a family write texts from left to right, and fill no masks."""
    kind = config_class(found).model_type
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return False
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES


def build_config(found: type[PreTrainedModel], config: CheckpointConfig, num_labels: int) -> PreTrainedConfig:
    """The config of a class.

    Args:
        found: The class.
        config: config.json.
        num_labels: How many classes or scores a classifier gives.

    Raises:
        CheckpointError: If the class does not take it.
    """
    values = _cleaned(config.to_dict())
    values.pop("architectures", None)
    if values.get("quantization_config"):
        message = f"{found.__name__} is run by transformers here, which does not run quantised checkpoints"
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
            made: PreTrainedConfig = config_class(found).from_dict({**values, **labels})
    except Exception as error:  # what a config is made of is the library's business, and so is what it raises
        message = f"transformers' {found.__name__} does not take this config.json: {type(error).__name__}: {error}"
        raise CheckpointError(message) from error
    made.use_cache = False
    if getattr(made, "use_mems_eval", False):
        made.use_mems_eval = False
    return made


def _cleaned(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _cleaned(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if key not in LEFT_OUT
    }
