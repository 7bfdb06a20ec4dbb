"""Resolves fallbacks: the specs of architectures that run with model classes of transformers."""

from dataclasses import replace
from inspect import signature
from typing import Any

from transformers import PreTrainedModel

from millpond.plugin.specs import (
    ArchitectureSpec,
    CheckpointLayout,
    ModelExtras,
    OutputShape,
    PoolingDefaults,
    TextInput,
)
from millpond.types.config import CheckpointConfig
from millpond_transformers.classes import (
    PROCESSORS,
    NotServedError,
    config_class,
    find_backbone,
    find_class,
    is_decoder,
)
from millpond_transformers.query_formats import QUERY_FORMATS

GENERATIVE = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
CLASSIFIER_TOKEN_KEYS = ("classifier_from_token", "classifier_from_token_ids")
REWARD_MODELS = frozenset({"JambaForSequenceClassification"})  # their scores are not probabilities
# Model types whose position IDs start after the padding ID; those of others start at 0.
POSITIONS_AFTER_PAD = frozenset(
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
MEAN_POOLED = ("EncoderModel", "EmbeddingGemma2Model")  # ends of names of classes that are trained with MEAN pooling
SUMMARY_POOLING = {"first": "CLS", "last": "LAST", "mean": "MEAN"}


def backbone(name: str, config: CheckpointConfig) -> ArchitectureSpec | str:
    """Return the spec of a model without its head, or the reason why it cannot be run."""
    try:
        model_class = find_backbone(name)
    except NotServedError as reason:
        return str(reason)
    if hasattr(model_class, "get_text_features"):
        return f"{name!r} has separate models for texts and other inputs, which the fallback to transformers cannot run"
    is_generative = name.endswith(GENERATIVE) and is_decoder(model_class)
    spec = ArchitectureSpec(
        name=model_class.__name__,
        target="millpond_transformers.model:TransformersModel",
        summary="run by the model class of transformers",
        tasks=() if is_generative else ("embed", "token_embed"),  # converters make embedding models of generative ones
        **_family_fields(model_class, config),
        **_image_fields(model_class),
    )
    if model_class.__name__.endswith(MEAN_POOLED):
        return replace(spec, pooling=PoolingDefaults("MEAN"))
    return spec


def classifier(name: str, config: CheckpointConfig) -> ArchitectureSpec | str:
    """Return the spec of a text classifier with the head of transformers, or the reason why it cannot be run."""
    if any(config.get(key) for key in CLASSIFIER_TOKEN_KEYS):
        return (
            f"config.json of {name!r} sets {CLASSIFIER_TOKEN_KEYS[0]}, which the head in transformers does not support"
        )
    try:
        model_class = find_class(name)
    except NotServedError as reason:
        return str(reason)
    spec = ArchitectureSpec(
        name=name,
        target="millpond_transformers.heads:TransformersForSequenceClassification",
        summary="run by the model class of transformers, with its classification head",
        tasks=("classify", "token_classify"),
        **_family_fields(model_class, config),
    )
    if name in REWARD_MODELS:
        return replace(spec, pooling=replace(spec.pooling, settings={"use_activation": False}))
    return spec


def token_classifier(name: str, config: CheckpointConfig) -> ArchitectureSpec | str:
    """Return the spec of a token classifier with the head of transformers, or the reason why it cannot be run."""
    try:
        model_class = find_class(name)
    except NotServedError as reason:
        return str(reason)
    return ArchitectureSpec(
        name=name,
        target="millpond_transformers.heads:TransformersForTokenClassification",
        summary="run by the model class of transformers, with its token classification head",
        tasks=("token_classify",),
        text=_family_fields(model_class, config)["text"],
    )


def retrieval(name: str, config: CheckpointConfig) -> ArchitectureSpec | str:
    """Return the spec of a late-interaction model like ColPali, or the reason why it cannot be run."""
    try:
        model_class = find_class(name)
    except NotServedError as reason:
        return str(reason)
    if config_class(model_class).model_type not in QUERY_FORMATS or config.get("model_type") not in QUERY_FORMATS:
        return f"the query and image prompts of {name!r} are unknown"
    return ArchitectureSpec(
        name=name,
        target="millpond_transformers.retrieval:TransformersForRetrieval",
        summary="run by the model class of transformers: a vector for each token of a text or an image",
        tasks=("token_embed",),
        modalities=_image_fields(model_class).get("modalities", ("text",)),
        output=OutputShape(size_keys=("embedding_dim",)),
        checkpoint=CheckpointLayout(config_defaults={"embedding_dim": 128}),
        extras=ModelExtras(
            image_processor="millpond_transformers.retrieval_images:RetrievalImages",
            late_interaction="millpond_transformers.query_formats:read_query_format",
        ),
    )


def _family_fields(model_class: type[PreTrainedModel], config: CheckpointConfig) -> dict[str, Any]:
    model_type = config_class(model_class).model_type
    summary = SUMMARY_POOLING.get(str(config.get("summary_type")))
    pooling = summary or ("LAST" if is_decoder(model_class) or _is_sequence_to_sequence(model_class) else "CLS")
    positions = "absolute_after_pad" if model_type in POSITIONS_AFTER_PAD else "absolute"
    text = TextInput(positions=positions if _has_absolute_positions(model_class) else "relative")
    return {"pooling": PoolingDefaults(pooling), "text": text}


def _image_fields(model_class: type[PreTrainedModel]) -> dict[str, Any]:
    """Return the modalities and the image reader of a class that reads texts with images."""
    reads_images = "pixel_values" in signature(model_class.forward).parameters
    if not reads_images or config_class(model_class).model_type not in PROCESSORS:
        return {}
    extras = ModelExtras(image_processor="millpond_transformers.images:ProcessorImages")
    return {"modalities": ("text", "image"), "extras": extras}


def _is_sequence_to_sequence(model_class: type[PreTrainedModel]) -> bool:
    """Return True if the class is an encoder-decoder whose decoder returns the hidden states."""
    config = config_class(model_class)()
    return bool(getattr(config, "is_encoder_decoder", False)) and not model_class.__name__.endswith("EncoderModel")


def _has_absolute_positions(model_class: type[PreTrainedModel]) -> bool:
    """Return True if the model has absolute positions, which limit the length of a text."""
    return not hasattr(config_class(model_class)(), "rope_parameters")
