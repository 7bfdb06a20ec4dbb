"""Names the IO processors that Millpond comes with."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import IOProcessorSpec


@hookimpl
def register_io_processors() -> Iterator[IOProcessorSpec]:
    """Text or token ids in; vectors, classes or scores out."""
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
        summary="text or token ids to weights of tokens of the vocabulary",
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
        summary="texts to entities with their characters",
        tasks=("entities",),
    )
    yield IOProcessorSpec(
        name="represent",
        target="millpond_io.tasks.represent:RepresentProcessor",
        summary="text or token ids to several results at once",
        tasks=("represent",),
    )
    yield IOProcessorSpec(
        name="bge_m3_sparse_plugin",
        target="millpond_io.plugins.bge_m3:BgeM3Processor",
        summary="data with texts to vectors and weights of tokens, as vLLM's plugin of that name has it",
        tasks=("plugin",),
    )
    yield IOProcessorSpec(
        name="colbert_query_plugin",
        target="millpond_io.plugins.colbert:ColBertProcessor",
        summary="data with queries or documents to vectors of tokens, as vLLM's plugin of that name has it",
        tasks=("plugin",),
    )
    yield IOProcessorSpec(
        name="score",
        target="millpond_io.tasks.score:ScoreProcessor",
        summary="queries and documents to scores",
        tasks=("score",),
    )
