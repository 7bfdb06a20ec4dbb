"""The records of embedding models and classifiers, with the tasks that each kind serves."""

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
    """Return the record of a model that embeds texts and their tokens.

    Args:
        name: The architecture in config.json.
        target: The import string of its class.
        summary: One line for listings.
        pooling: The default pooling type of texts; or all defaults.
        **groups: Other fields of the record.
    """
    defaults = PoolingDefaults(pooling) if isinstance(pooling, str) else pooling
    own = {"tasks": EMBEDDING_TASKS, "pooling": defaults, "extras": TEXT_EXTRAS, **groups}
    return ArchitectureSpec(name=name, target=target, summary=summary, **own)


def text_classifier(name: str, target: str, *, pooling: str = "CLS", **groups: Any) -> ArchitectureSpec:
    """Return the record of a model with a classifier of texts, which is also applied to tokens; see ``embedder``."""
    summary = "classes or a score of a text, or of a pair of texts"
    own = {"tasks": CLASSIFYING_TASKS, "pooling": PoolingDefaults(pooling), "extras": TEXT_EXTRAS, **groups}
    return ArchitectureSpec(name=name, target=target, summary=summary, **own)


def token_classifier(name: str, target: str, summary: str = "classes of each token", **groups: Any) -> ArchitectureSpec:
    """Return the record of a model with a classifier of tokens; see ``embedder``."""
    own = {"tasks": TOKEN_TASKS, "extras": TEXT_EXTRAS, **groups}
    return ArchitectureSpec(name=name, target=target, summary=summary, **own)


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
    """Return the records of an encoder alone, with a classifier of texts and with one of tokens, for each name.

    Args:
        *names: The prefixes of its architectures, such as ``Bert`` in ``BertModel``.
        model: The import string of the encoder's class.
        heads: The import string of the classes with classifiers, up to ``ForSequenceClassification``.
        summary: One line for listings.
        pooling: The default pooling type of the encoder.
        classifier_pooling: The default pooling type of the classifier of texts.
        positions: See ``TextInput.positions``.
        checkpoint: The checkpoint layout of the encoder alone.
        **groups: Other fields of all records.
    """
    shared = {"text": TextInput(positions=positions), **groups}
    alone = shared if checkpoint is None else {**shared, "checkpoint": checkpoint}
    texts, tokens = "ForSequenceClassification", "ForTokenClassification"
    return tuple(
        spec
        for name in names
        for spec in (
            embedder(f"{name}Model", model, summary, pooling=pooling, **alone),
            text_classifier(f"{name}{texts}", f"{heads}{texts}", pooling=classifier_pooling, **shared),
            token_classifier(f"{name}{tokens}", f"{heads}{tokens}", **shared),
        )
    )
