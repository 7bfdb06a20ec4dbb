"""Architecture specs of embedding models and classifiers, with their tasks."""

from typing import Any, Final

from millpond.plugin.specs import ArchitectureSpec, CheckpointLayout, ModelExtras, PoolingDefaults, TextInput

EMBEDDING_TASKS: Final = ("embed", "token_embed")
CLASSIFYING_TASKS: Final = ("classify", "token_classify")
TOKEN_TASKS: Final = ("token_classify",)
TEXT_EXTRAS: Final = ModelExtras(tiny="millpond_models.testing.tiny:tiny")
TINY_BY_NAME: Final = "millpond_models.testing.by_name:tiny_by_name"


def embedder(
    name: str, target: str, summary: str, *, pooling: str | PoolingDefaults, **groups: Any
) -> ArchitectureSpec:
    """Return the spec of a model that embeds texts and tokens.

    Args:
        name: The architecture in config.json.
        target: Import string of the model class.
        summary: One line for listings.
        pooling: Default pooling type of texts, or all pooling defaults.
        **groups: Other fields of the spec.
    """
    defaults = PoolingDefaults(pooling) if isinstance(pooling, str) else pooling
    fields = {"tasks": EMBEDDING_TASKS, "pooling": defaults, "extras": TEXT_EXTRAS, **groups}
    return ArchitectureSpec(name=name, target=target, summary=summary, **fields)


def text_classifier(name: str, target: str, *, pooling: str = "CLS", **groups: Any) -> ArchitectureSpec:
    """Return the spec of a text classifier, which can also classify tokens; see ``embedder``."""
    summary = "classes or a score for a text or a pair of texts"
    fields = {"tasks": CLASSIFYING_TASKS, "pooling": PoolingDefaults(pooling), "extras": TEXT_EXTRAS, **groups}
    return ArchitectureSpec(name=name, target=target, summary=summary, **fields)


def token_classifier(name: str, target: str, summary: str = "classes of each token", **groups: Any) -> ArchitectureSpec:
    """Return the spec of a token classifier; see ``embedder``."""
    fields = {"tasks": TOKEN_TASKS, "extras": TEXT_EXTRAS, **groups}
    return ArchitectureSpec(name=name, target=target, summary=summary, **fields)


def encoder_family(
    *names: str,
    model: str,
    heads: str,
    summary: str,
    pooling: str = "CLS",
    classifier_pooling: str = "CLS",
    positions: str = "relative",
    checkpoint: CheckpointLayout | None = None,
    **groups: Any,
) -> tuple[ArchitectureSpec, ...]:
    """Return the specs of an encoder, its text classifier and its token classifier, for each name.

    Args:
        *names: Prefixes of the architectures, such as ``Bert`` in ``BertModel``.
        model: Import string of the encoder class.
        heads: Import string of the classifiers, up to ``ForSequenceClassification``.
        summary: One line for listings.
        pooling: Default pooling type of the encoder.
        classifier_pooling: Default pooling type of the text classifier.
        positions: See ``TextInput.positions``.
        checkpoint: Checkpoint layout of the encoder without a classifier.
        **groups: Other fields of all specs.
    """
    shared = {"text": TextInput(positions=positions), **groups}
    encoder_only = shared if checkpoint is None else {**shared, "checkpoint": checkpoint}
    text_suffix, token_suffix = "ForSequenceClassification", "ForTokenClassification"
    return tuple(
        spec
        for name in names
        for spec in (
            embedder(f"{name}Model", model, summary, pooling=pooling, **encoder_only),
            text_classifier(f"{name}{text_suffix}", f"{heads}{text_suffix}", pooling=classifier_pooling, **shared),
            token_classifier(f"{name}{token_suffix}", f"{heads}{token_suffix}", **shared),
        )
    )
