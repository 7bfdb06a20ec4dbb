"""The records of the built-in IO processors."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import IOProcessorSpec


@hookimpl
def register_io_processors() -> Iterator[IOProcessorSpec]:
    """Yield the built-in IO processors."""
    yield IOProcessorSpec(
        name="embed",
        target="millpond_io.tasks.embed:EmbedProcessor",
        summary="text or token ids to vectors",
        tasks=("embed", "token_embed"),
    )
    yield IOProcessorSpec(
        name="embed_chunks",
        target="millpond_io.tasks.embed_chunks:ChunksProcessor",
        summary="chunks of texts to vectors",
        tasks=("embed_chunks",),
    )
    yield IOProcessorSpec(
        name="embed_sparse",
        target="millpond_io.tasks.embed_sparse:SparseProcessor",
        summary="text or token ids to sparse vectors (weights of vocabulary tokens)",
        tasks=("embed_sparse",),
    )
    yield IOProcessorSpec(
        name="classify",
        target="millpond_io.tasks.classify:ClassifyProcessor",
        summary="text or token ids to classes",
        tasks=("classify", "token_classify"),
    )
    yield IOProcessorSpec(
        name="entities",
        target="millpond_io.tasks.entities:EntitiesProcessor",
        summary="texts to entities with their character offsets",
        tasks=("entities",),
    )
    yield IOProcessorSpec(
        name="represent",
        target="millpond_io.tasks.represent:RepresentProcessor",
        summary="text or token ids to the results of several tasks",
        tasks=("represent",),
    )
    yield IOProcessorSpec(
        name="bge_m3_sparse_plugin",
        target="millpond_io.plugins.bge_m3:BgeM3Processor",
        summary="texts to dense and sparse vectors, in the format of vLLM's plugin of this name",
        tasks=("plugin",),
    )
    yield IOProcessorSpec(
        name="colbert_query_plugin",
        target="millpond_io.plugins.colbert:ColBertProcessor",
        summary="queries or documents to token vectors, in the format of vLLM's plugin of this name",
        tasks=("plugin",),
    )
    yield IOProcessorSpec(
        name="score",
        target="millpond_io.tasks.score:ScoreProcessor",
        summary="queries and documents to scores",
        tasks=("score",),
    )
