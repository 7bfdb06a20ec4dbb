"""The fallbacks' architectures: the class of transformers, its pooling and its positions, for a name and a config."""

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


def backbone(name: str, config: CheckpointConfig) -> ArchitectureSpec | str:
    """Hidden states of a model without its head."""
    try:
        found = find_backbone(name)
    except NotServedError as reason:
        return str(reason)
    generates = name.endswith(GENERATING) and is_decoder(found)
    spec = ArchitectureSpec(
        name=found.__name__,
        target="millpond_transformers.model:TransformersModel",
        summary="run by the class of transformers",
        tasks=() if generates else ("embed", "token_embed"),  # a generator is converted, by the task that is requested
        **_of_family(found, config),
        **_of_images(found),
    )
    if found.__name__.endswith("EncoderModel"):
        return replace(spec, pooling=PoolingDefaults("MEAN"))  # they have no token for the whole text
    return spec


def classifier(name: str, config: CheckpointConfig) -> ArchitectureSpec | str:
    """Classes or scores of texts, by the head of transformers."""
    if any(config.get(key) for key in FROM_TOKENS):
        return f"the classes of {name!r} are tokens here, which its head in transformers knows nothing of"
    try:
        found = find_class(name)
    except NotServedError as reason:
        return str(reason)
    spec = ArchitectureSpec(
        name=name,
        target="millpond_transformers.heads:TransformersForSequenceClassification",
        summary="run by the class of transformers, with its head",
        tasks=("classify", "token_classify"),
        **_of_family(found, config),
    )
    if name in REWARDS:
        return replace(spec, pooling=replace(spec.pooling, settings={"use_activation": False}))
    return spec


def token_classifier(name: str, config: CheckpointConfig) -> ArchitectureSpec | str:
    """Classes of tokens, by the head of transformers."""
    try:
        found = find_class(name)
    except NotServedError as reason:
        return str(reason)
    return ArchitectureSpec(
        name=name,
        target="millpond_transformers.heads:TransformersForTokenClassification",
        summary="run by the class of transformers, with its head for each token",
        tasks=("token_classify",),
        text=_of_family(found, config)["text"],
    )


def retrieval(name: str, config: CheckpointConfig) -> ArchitectureSpec | str:
    """Vectors of the tokens of queries and of images, by a class of ColPali's kind."""
    try:
        found = find_class(name)
    except NotServedError as reason:
        return str(reason)
    if config_class(found).model_type not in WRITTEN or config.get("model_type") not in WRITTEN:
        return f"{name!r} of transformers reads queries and images in a way that is not known here"
    return ArchitectureSpec(
        name=name,
        target="millpond_transformers.retrieval:TransformersForRetrieval",
        summary="run by the class of transformers: a vector for each token of a text, or of an image",
        tasks=("token_embed",),
        modalities=_of_images(found).get("modalities", ("text",)),
        output=OutputShape(size_keys=("embedding_dim",)),
        checkpoint=CheckpointLayout(config_defaults={"embedding_dim": 128}),
        extras=ModelExtras(
            image_processor="millpond_transformers.retrieval_images:RetrievalImages",
            late_interaction="millpond_transformers.retrieval_sides:read_sides",
        ),
    )


def _of_family(found: type[PreTrainedModel], config: CheckpointConfig) -> dict[str, Any]:
    kind = config_class(found).model_type
    summary = SUMMARIES.get(str(config.get("summary_type")))
    pooling = summary or ("LAST" if is_decoder(found) or _is_sequence_to_sequence(found) else "CLS")
    positions = "absolute_after_pad" if kind in AFTER_PADDING else "absolute"
    text = TextInput(positions=positions if _has_table(found) else "relative")
    return {"pooling": PoolingDefaults(pooling), "text": text}


def _of_images(found: type[PreTrainedModel]) -> dict[str, Any]:
    """Return the modalities and the image processor of a class that reads images in texts."""
    sees = "pixel_values" in signature(found.forward).parameters
    if not sees or config_class(found).model_type not in PROCESSORS:
        return {}
    extras = ModelExtras(image_processor="millpond_transformers.images:ProcessorImages")
    return {"modalities": ("text", "image"), "extras": extras}


def _is_sequence_to_sequence(found: type[PreTrainedModel]) -> bool:
    """Whether its hidden states are those of a decoder that is given what an encoder read."""
    config = config_class(found)()
    return bool(getattr(config, "is_encoder_decoder", False)) and not found.__name__.endswith("EncoderModel")


def _has_table(found: type[PreTrainedModel]) -> bool:
    """Whether its positions are no rotation: such models cannot read beyond the table that config.json states."""
    return not hasattr(config_class(found)(), "rope_parameters")
