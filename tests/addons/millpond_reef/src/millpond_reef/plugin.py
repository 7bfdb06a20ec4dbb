"""Registers the components of Millpond Reef."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import CheckpointFormatSpec, FallbackSpec, ModuleSpec, PublishedModelSpec, RerankTemplate

MILLPOND_API = 1


@hookimpl
def register_checkpoint_formats() -> Iterator[CheckpointFormatSpec]:
    """Register the format of reef.json."""
    yield CheckpointFormatSpec(
        name="reef",
        target="millpond_reef.format:read_reef",
        summary="reef.json: pooling, prompts, maximum length and modules",
        files=("reef.json",),
    )


@hookimpl
def register_modules() -> Iterator[ModuleSpec]:
    """Register a module after pooling, and one before it."""
    yield ModuleSpec(
        name="reef_net.TideGate",
        target="millpond_reef.gate:TideGate",
        summary="the first dimensions, multiplied by a learned vector",
        size="millpond_reef.format:gate_size",
    )
    yield ModuleSpec(
        name="reef_net.Drift",
        target="millpond_reef.gate:Drift",
        summary="the difference of each token from the first one of its text",
        places=("before",),
    )


@hookimpl
def register_published_models() -> Iterator[PublishedModelSpec]:
    """Register a reranker from a language model, with tokens as classes and a template for pairs."""
    yield PublishedModelSpec(
        name="reef/coral-rerank-*",
        architecture="Qwen3Model",
        checkpoint_architecture="Qwen3ForCausalLM",
        config={
            "architectures": ["Qwen3ForSequenceClassification"],
            "classifier_from_token": ["no", "on"],
            "method": "from_2_way_softmax",
        },
        rerank_template=RerankTemplate(pieces=("it is in the {document}", "? {query}")),
        prompts={"query": "find: ", "document": "read: "},
    )


@hookimpl
def register_fallbacks() -> Iterator[FallbackSpec]:
    """Register the fallback for models named Reef*."""
    yield FallbackSpec(
        name="reef-nets",
        target="millpond_reef.nets:resolve",
        summary="models of Reef, by their word embeddings",
        patterns=("Reef*",),
        implementation="reef",
        tasks=("embed",),
    )
