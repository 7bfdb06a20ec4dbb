"""Names what Millpond Reef brings."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import CheckpointFormatSpec, FallbackSpec, ModuleSpec, PublishedModelSpec, RerankTemplate

MILLPOND_API = 1


@hookimpl
def register_checkpoint_formats() -> Iterator[CheckpointFormatSpec]:
    """One format: reef.json."""
    yield CheckpointFormatSpec(
        name="reef",
        target="millpond_reef.format:read_reef",
        summary="reef.json: pooling, prompts, length and modules",
        files=("reef.json",),
    )


@hookimpl
def register_modules() -> Iterator[ModuleSpec]:
    """One module after pooling, and one before it."""
    yield ModuleSpec(
        name="reef_net.TideGate",
        target="millpond_reef.gate:TideGate",
        summary="the first dimensions, each multiplied by a number of its own",
        size="millpond_reef.format:gate_size",
    )
    yield ModuleSpec(
        name="reef_net.Drift",
        target="millpond_reef.gate:Drift",
        summary="each token becomes the difference from the first of its text",
        places=("before",),
    )


@hookimpl
def register_published_models() -> Iterator[PublishedModelSpec]:
    """A reranker made of a language model: its classes are tokens, and it reads a text of its own."""
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
    """Whatever Reef has published: models named Reef*."""
    yield FallbackSpec(
        name="reef-nets",
        target="millpond_reef.nets:resolve",
        summary="the nets of Reef by their word vectors",
        patterns=("Reef*",),
        implementation="reef",
        tasks=("embed",),
    )
