"""The records of the built-in IO processors and text steps."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import IOProcessorSpec
from millpond_text.kinds import TextStepSpec


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


@hookimpl
def register_text_steps() -> Iterator[TextStepSpec]:
    """Yield the built-in text steps, in order."""
    yield TextStepSpec(
        name="late_chunking",
        target="millpond_io.chunking.late:LateChunking",
        summary="pools the token vectors of chunks of a text",
        when="text",
        tasks=("token_embed",),
    )
    yield TextStepSpec(
        name="chat_template",
        target="millpond_io.chat.text_messages:text_messages",
        summary="renders texts as messages with the chat template",
        after="late_chunking",
        when="text.message_format",
    )
    yield TextStepSpec(
        name="named_prompt",
        target="millpond_io.text.named_prompts:NamedPrompts",
        summary="puts the instruction of a call before a text",
        after="chat_template",
        when="text",
    )
    yield TextStepSpec(
        name="exclude_prompt",
        target="millpond_io.text.excluded_prompts:exclude_prompt",
        summary="excludes the instruction from pooling",
        after="named_prompt",
        when="text",
    )
    yield TextStepSpec(
        name="static_query_weights",
        target="millpond_io.retrieval.static_query_weights:static_query_weights",
        summary="computes sparse vectors of queries without the model",
        after="exclude_prompt",
        when="retrieval.static_query_weights",
        tasks=("embed", "embed_sparse"),
    )
    yield TextStepSpec(
        name="query_markers",
        target="millpond_io.retrieval.late_interaction:query_markers",
        summary="marks queries and documents for late interaction",
        after="static_query_weights",
        when="retrieval.late_interaction",
        tasks=("token_embed", "represent"),
    )
    yield TextStepSpec(
        name="pool_tokens",
        target="millpond_io.retrieval.token_pooling:PoolTokens",
        summary="replaces similar token vectors by their mean",
        after="query_markers",
        when="text",
        tasks=("token_embed",),
    )
    yield TextStepSpec(
        name="pieces",
        target="millpond_io.chunking.pieces:Pieces",
        summary="splits texts over the maximum length",
        after="pool_tokens",
        when="text",
        tasks=("embed",),
    )
