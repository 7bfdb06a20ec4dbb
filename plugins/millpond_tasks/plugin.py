"""Registers the built-in tasks. Their options are in separate modules, because pydantic is imported at first use."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import TaskSpec


@hookimpl
def register_tasks() -> Iterator[TaskSpec]:
    """Register the tasks for embeddings, classes, scores, entities and IO processor plugins."""
    yield TaskSpec(
        name="embed",
        target="millpond.types.outputs:EmbeddingOutput",
        summary="one vector per prompt",
        io_processor="embed",
        default_activation="normalize",
        options="millpond_tasks.embed:EmbedOptions",
        output="millpond.types.outputs:EmbeddingRequestOutput",
    )
    yield TaskSpec(
        name="token_embed",
        target="millpond.types.outputs:TokenEmbeddingsOutput",
        summary="one vector per token",
        io_processor="embed",
        default_activation="normalize",
        per_token=True,
        options="millpond_tasks.embed:TokenEmbedOptions",
        output="millpond.types.outputs:EmbeddingRequestOutput",
    )
    yield TaskSpec(
        name="classify",
        target="millpond.types.outputs:ClassificationOutput",
        summary="the probabilities of classes",
        io_processor="classify",
        options="millpond_tasks.classify:ClassifyOptions",
        output="millpond.types.outputs:ClassificationRequestOutput",
    )
    yield TaskSpec(
        name="token_classify",
        target="millpond.types.outputs:PoolingOutput",
        summary="the probabilities of classes, or rewards, for each token or step",
        io_processor="classify",
        per_token=True,
        options="millpond_tasks.classify:ClassifyOptions",
    )
    yield TaskSpec(
        name="score",
        target="millpond.types.outputs:ScoringOutput",
        summary="the relevance of a document to a query",
        io_processor="score",
        derived_from=("classify", "token_embed", "embed"),
        options="millpond_tasks.score:ScoreOptions",
        output="millpond.types.outputs:ScoringRequestOutput",
    )
    yield TaskSpec(
        name="embed_chunks",
        target="millpond.types.outputs:ChunksOutput",
        summary="one vector per chunk of a text",
        io_processor="embed_chunks",
        derived_from=("embed",),
        options="millpond_tasks.embed_chunks:ChunksOptions",
        output="millpond.types.outputs:ChunksRequestOutput",
    )
    yield TaskSpec(
        name="embed_sparse",
        target="millpond.types.outputs:SparseEmbeddingOutput",
        summary="weights of vocabulary tokens",
        io_processor="embed_sparse",
        derived_from=("embed", "token_classify"),
        options="millpond_tasks.embed_sparse:SparseOptions",
        output="millpond.types.outputs:SparseEmbeddingRequestOutput",
    )
    yield TaskSpec(
        name="entities",
        target="millpond_tasks.entities:EntitiesOutput",
        summary="parts of a text with their labels and characters",
        io_processor="entities",
        derived_from=("token_classify",),
        options="millpond_tasks.entities:EntitiesOptions",
        method="entities",
        output="millpond_tasks.entities:EntitiesRequestOutput",
    )
    yield TaskSpec(
        name="represent",
        target="millpond.types.outputs:RepresentationsOutput",
        summary="several results of a prompt from one forward pass",
        io_processor="represent",
        derived_from=("embed", "token_embed", "classify", "token_classify"),
        options="millpond_tasks.represent:RepresentOptions",
        output="millpond.types.outputs:RepresentationsRequestOutput",
    )
    yield TaskSpec(
        name="plugin",
        target="millpond.types.outputs:PoolingOutput",
        summary="the output of the IO processor that the model or the caller selects",
        io_processor="plugin",
        per_token=True,
    )
