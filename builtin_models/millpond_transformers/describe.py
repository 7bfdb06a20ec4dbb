"""What the records say of an architecture that they stand in for: its class, how it pools, how it counts positions."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from transformers import PreTrainedModel

from millpond.types.config import CheckpointConfig
from millpond_transformers.classes import (
    PROCESSORS,
    NotServedError,
    config_class,
    find_backbone,
    find_class,
    is_decoder,
)
from millpond_transformers.retrieval_sides import WRITTEN

GENERATING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
FROM_TOKENS = ("classifier_from_token", "classifier_from_token_ids")
REWARDS = frozenset({"JambaForSequenceClassification"})  # their scores are not probabilities
# Tables of positions whose rows begin behind the padding id; those of others begin at 0.
AFTER_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "lilt",
        "longformer",
        "luke",
        "mra",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
        "yoso",
        "nystromformer",
    }
)
SUMMARIES = {"first": "CLS", "last": "LAST", "mean": "MEAN"}


def backbone(name: str, config: CheckpointConfig) -> Mapping[str, Any] | str:
    """Hidden states of a model without its head."""
    try:
        found = find_backbone(name)
    except NotServedError as reason:
        return str(reason)
    writes = name.endswith(GENERATING) and is_decoder(found)
    said = {"name": found.__name__, **_of_family(found, config), **_of_images(found)}
    if found.__name__.endswith("EncoderModel"):
        said["pooling"] = "MEAN"  # they have no token for the whole
    return {**said, "tasks": ()} if writes else said  # what writes is converted, by what is asked of it


def classifier(name: str, config: CheckpointConfig) -> Mapping[str, Any] | str:
    """Classes or scores of texts, by the head of transformers."""
    if any(config.get(key) for key in FROM_TOKENS):
        return f"the classes of {name!r} are tokens here, which its head in transformers knows nothing of"
    try:
        found = find_class(name)
    except NotServedError as reason:
        return str(reason)
    said = _of_family(found, config)
    return {**said, "pooler_config": {"use_activation": False}} if name in REWARDS else said


def token_classifier(name: str, config: CheckpointConfig) -> Mapping[str, Any] | str:
    """Classes of tokens, by the head of transformers."""
    try:
        found = find_class(name)
    except NotServedError as reason:
        return str(reason)
    return {**_of_family(found, config), "pooling": None}


def retrieval(name: str, config: CheckpointConfig) -> Mapping[str, Any] | str:
    """Vectors of the tokens of queries and of images, by a class of ColPali's kind."""
    try:
        found = find_class(name)
    except NotServedError as reason:
        return str(reason)
    if config_class(found).model_type not in WRITTEN or config.get("model_type") not in WRITTEN:
        return f"{name!r} of transformers reads queries and images in a way that is not known here"
    return {**_of_images(found), "image_reader": "millpond_transformers.retrieval_images:RetrievalImages"}


def _of_family(found: type[PreTrainedModel], config: CheckpointConfig) -> dict[str, Any]:
    kind = config_class(found).model_type
    summary = SUMMARIES.get(str(config.get("summary_type")))
    pooling = summary or ("LAST" if is_decoder(found) or _is_sequence_to_sequence(found) else "CLS")
    positions = "absolute_after_pad" if kind in AFTER_PADDING else "absolute"
    return {"pooling": pooling, "positions": positions if _has_table(found) else "relative"}


def _of_images(found: type[PreTrainedModel]) -> dict[str, Any]:
    """Whether it reads texts with images, and by what."""
    sees = "pixel_values" in signature(found.forward).parameters
    if not sees or config_class(found).model_type not in PROCESSORS:
        return {}
    return {"modalities": ("text", "image"), "image_reader": "millpond_transformers.images:ProcessorImages"}


def _is_sequence_to_sequence(found: type[PreTrainedModel]) -> bool:
    """Whether its hidden states are those of a decoder that is given what an encoder read."""
    config = config_class(found)()
    return bool(getattr(config, "is_encoder_decoder", False)) and not found.__name__.endswith("EncoderModel")


def _has_table(found: type[PreTrainedModel]) -> bool:
    """Whether its positions are no rotation: such models cannot read beyond the table that config.json states."""
    return not hasattr(config_class(found)(), "rope_parameters")
