"""The record of a published model, or of several similar ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from millpond.plugin.specs.base import Spec
from millpond.types.rerank_template import RerankTemplate


@dataclass(frozen=True, kw_only=True)
class PublishedModelSpec(Spec):
    """Facts about a published model, or several similar ones, that their files do not contain. It has no target.

    Attributes:
        name: ``organisation/model`` as published, or a shell pattern. Models are matched by the part after the
            organisation, ignoring case; if several patterns match, the longest is used.
        architecture: The architecture that runs it.
        checkpoint_architecture: The architecture in its config.json, if the facts apply to that one only.
        config: Keys missing from config.json. Keys in config.json and the caller's overrides take precedence, except
            that ``architectures`` replaces the published value.
        chat_template: The Jinja template of its messages, in place of the one in its files; None to use its files.
        rerank_template: The text that the model reads for a query and a document; None for the tokenizer's pair.
        prompts: Prompts by name, such as ``{"query": "query: "}``. Prompts in its files take precedence.
        markers: Sentences of a reranker's chat template, which identify it in a folder of any name.
    """

    kind: ClassVar[str] = "published_model"
    target: str | object = field(default=None, init=False, repr=False)
    architecture: str
    checkpoint_architecture: str | None = None
    config: Mapping[str, object] = field(default_factory=dict, hash=False)
    chat_template: str | None = None
    rerank_template: RerankTemplate | None = None
    prompts: Mapping[str, str] = field(default_factory=dict, hash=False)
    markers: tuple[str, ...] = ()
