"""What the records of most architectures say alike, said once. Without torch: ``plugin.py`` yields them."""

from typing import Any

from millpond.plugin.specs import ArchitectureSpec

EMBEDDING_TASKS = ("embed", "token_embed")
CLASSIFYING_TASKS = ("classify", "token_classify")
TOKEN_TASKS = ("token_classify",)
LFM2 = {"rope_theta": 1_000_000.0}  # of config.json where it does not say


def embedder(name: str, target: str, summary: str, *, pooling: str, **more: Any) -> ArchitectureSpec:
    """The record of a model that gives vectors, of texts and of their tokens.

    Args:
        name: The name in config.json.
        target: Its class, as ``module:Class`` of this package.
        summary: What it is.
        pooling: The pooling type of texts where no file says.
        **more: Further fields of the record.
    """
    return _record(name, target, summary=summary, tasks=EMBEDDING_TASKS, pooling=pooling, **more)


def text_classifier(name: str, target: str, *, pooling: str = "CLS", **more: Any) -> ArchitectureSpec:
    """The record of a model with a classifier of texts, which is applied to each token as well; see ``embedder``."""
    summary = "classes or a score of a text, or of a pair of texts"
    return _record(name, target, summary=summary, tasks=CLASSIFYING_TASKS, pooling=pooling, **more)


def token_classifier(name: str, target: str, **more: Any) -> ArchitectureSpec:
    """The record of a model with a classifier of tokens; see ``embedder``."""
    return _record(name, target, **{"summary": "classes of each token", "tasks": TOKEN_TASKS, **more})


def _record(name: str, target: str, **fields: Any) -> ArchitectureSpec:
    return ArchitectureSpec(name=name, target=f"millpond_models.{target}", **fields)
