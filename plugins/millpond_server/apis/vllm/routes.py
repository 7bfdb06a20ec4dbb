"""The routes of vLLM: scores and rankings, classes, bare results of any task, tokens, and invocations."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from millpond import AsyncLLM, PoolingParams, ScoringRequestOutput
from millpond.loading.tokenizer import Tokenizer
from millpond.pipeline.pipeline import present_name
from millpond.types.late_chunking import LateChunkingParams
from millpond.types.outputs import ArrayOutput
from millpond_server.apis.common.answers import data_answer, num_tokens
from millpond_server.apis.common.inputs import prompts_of
from millpond_server.apis.common.tokenizing import aside, check_count, check_size, check_vocabulary, tokenizer_of
from millpond_server.apis.openai.routes import check_header, embeddings, mixed_modality, vectors
from millpond_server.apis.openai.schemas import EmbeddingRequest, usage_of
from millpond_server.apis.vllm.plugin_output import plugin_answer, values_answer
from millpond_server.apis.vllm.schemas import (
    ClassificationRequest,
    DetokenizeRequest,
    PoolingRequest,
    RerankRequest,
    ScoreRequest,
    ScoringOptions,
    TokenizeRequest,
)
from millpond_server.apis.vllm.scoring_inputs import check_images_of, content_of, side_of, told
from millpond_server.http.body import validate
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError
from millpond_server.runtime.settings import Limits

NO_TOKENIZER = 501
ELSEWHERE = {
    "entities": "entities are no numbers: POST /entities gives them",
    "embed_chunks": "vectors of chunks are given by LLM.embed_chunks alone, in Python",
    "represent": "several results of a text are asked for by name: POST /v1/represent gives them",
}
BY_ITSELF = ("embed", "classify", "token_embed", "token_classify")
TASKS = ("embed", "token_embed", "classify", "token_classify")  # whose processors write conversations


async def score(request: ScoreRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The score of each pair."""
    queries, documents = request.sides
    outputs = await scored(side_of(queries), side_of(documents), request, llm, call)
    data = [{"index": place, "object": "score", "score": each.outputs.score} for place, each in enumerate(outputs)]
    return data_answer(call, "score", data, outputs)


async def rerank(request: RerankRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The documents, those that fit the query best first."""
    given = request.documents if isinstance(request.documents, list) else [request.documents]
    query, documents = content_of(request.query), [content_of(document, request.rank_fields) for document in given]
    _check_contents("query", [query])
    _check_contents("documents", documents)
    outputs = await scored(query, documents, request, llm, call)
    results: list[dict[str, Any]] = []
    for place in ranked(outputs)[: request.top_n or len(outputs)]:
        result: dict[str, Any] = {"index": place, "relevance_score": outputs[place].outputs.score}
        if request.return_documents:
            result["document"] = told(documents[place])
        results.append(result)
    tokens = num_tokens(outputs)
    return {
        "id": call.id("rerank"),
        "model": call.served.name,
        "usage": usage_of(tokens),
        "results": results,
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1, "input_tokens": tokens},
            "tokens": {"input_tokens": tokens},
        },
    }


async def scored(
    queries: object, documents: object, request: ScoringOptions, llm: AsyncLLM, call: Call
) -> list[ScoringRequestOutput]:
    """The scores of two sides, of which there may not be too many."""
    check_sides(call.settings.limits, queries=queries, documents=documents)
    check_images_of((queries, documents), call.settings.limits)
    outputs = await llm.score(
        queries,
        documents,
        pooling_params=PoolingParams(use_activation=request.use_activation, extra_kwargs=mixed_modality(request.mixed)),
        priority=request.priority + call.priority,
        **request.of_pairs(),
        **request.options(),
    )
    check_whole(outputs, request)
    return outputs


def check_whole(outputs: Sequence[ScoringRequestOutput], request: ScoringOptions) -> None:
    """Refuse ``max_chunks_per_doc`` where a pair was cut: chunks beyond what was kept would count then.

    Raises:
        ApiError: 400.
    """
    place = next((place for place, output in enumerate(outputs) if output.num_dropped_tokens), None)
    if request.max_chunks_per_doc is None or place is None:
        return
    message = (
        f"max_chunks_per_doc={request.max_chunks_per_doc} is not supported for texts that are cut: documents are read "
        f"whole, as one chunk, and {outputs[place].num_dropped_tokens} tokens of pair {place} were cut off; leave the "
        "field out to score what is kept, or send shorter documents"
    )
    raise ApiError(400, message, parameter="max_chunks_per_doc", reason="unsupported")


def check_sides(limits: Limits, **sides: object) -> None:
    """Refuse sides, by the names of their fields, that hold too many texts.

    Raises:
        ApiError: 413.
    """
    for name, side in sides.items():
        if isinstance(side, list) and len(side) > limits.documents:
            message = f"{name} holds {len(side)} items; the list length is limited to {limits.documents}"
            raise ApiError(413, message, parameter=name, reason="inputs")


def ranked(outputs: Sequence[ScoringRequestOutput]) -> list[int]:
    """The places of outputs, best first; of equals the first one goes before."""
    return sorted(range(len(outputs)), key=lambda place: -outputs[place].outputs.score)


def _check_contents(field: str, contents: Sequence[Any]) -> None:
    """Refuse a query, or documents, that are neither texts nor objects.

    Raises:
        ApiError: 400.
    """
    if not all(isinstance(content, str | dict) for content in contents):
        one = "a query" if field == "query" else "a document"
        message = f"{one} must be a text, or an object with a `text`, an `image` or a `content` of parts"
        raise ApiError(400, message, parameter=field, reason="invalid")


async def classify(request: ClassificationRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The most probable class of each input, and the probabilities of all."""
    prompts = prompts_of(request, call.settings.limits, llm, pairs=True)
    outputs = await llm.classify(
        prompts,
        pooling_params=PoolingParams(use_activation=request.use_activation),
        priority=request.priority + call.priority,
        **request.options(),
    )
    labels = llm.model_config.labels
    data = []
    for place, output in enumerate(outputs):
        probs = output.outputs.array
        best = int(probs.argmax())
        label = labels[best] if best < len(labels) else None
        data.append({"index": place, "label": label, "probs": probs, "num_classes": len(probs)})
    return data_answer(call, "classify", data, outputs)


async def pooling(request: PoolingRequest, llm: AsyncLLM, call: Call) -> Any:
    """The results of a body's inputs, or what an IO processor plugin makes of its data."""
    if request.data is not None:
        return await _by_plugin(request, llm, call)
    if request.dimensions is not None:
        raise ApiError(400, "dimensions is currently not supported", parameter="dimensions", reason="invalid")
    prompts = prompts_of(request, call.settings.limits, llm)
    check_header(request, len(prompts))
    task = _task(request, llm)
    _check_task(task, llm)
    if task in ELSEWHERE and task in llm.supported_tasks:
        raise ApiError(400, ELSEWHERE[task], parameter="task", reason="invalid")
    extra: dict[str, Any] = dict(request.extra_kwargs or {})
    if request.pool_factor is not None:
        extra["pool_factor"] = request.pool_factor
    outputs = await llm.encode(
        prompts,
        PoolingParams(
            use_activation=request.use_activation,
            extra_kwargs=extra or None,
            late_chunking_params=_late_chunking(request),
        ),
        pooling_task=task,
        input_type=_side(request, llm, task),
        priority=request.priority + call.priority,
        **request.options(),
    )
    if not all(isinstance(output.outputs, ArrayOutput) for output in outputs):
        return await values_answer(outputs, call, llm.pipeline.processor(task))
    answer = vectors(outputs, request, call, kind="pooling", field="data", prefix="pooling")
    if request.late_chunking_params is not None and isinstance(answer, dict):
        for item, output in zip(answer["data"], outputs, strict=True):
            item["late_chunking"] = output.late_chunking  # orjson writes dataclasses
    return answer


def _late_chunking(request: PoolingRequest) -> LateChunkingParams | None:
    asked = request.late_chunking_params
    return None if asked is None else LateChunkingParams(asked.chunk_size)


def _side(request: PoolingRequest, llm: AsyncLLM, task: str | None) -> str | None:
    """Whether the texts are queries or documents, for a task of a model that makes a difference."""
    sides = llm.model_config.retrieval
    differs = sides.late_interaction is not None and task == "token_embed"
    differs = differs or (sides.static_query_weights is not None and task in ("embed", "embed_sparse"))
    differs = differs or bool(sides.routes)
    return request.side(llm) if differs else None


def _task(request: PoolingRequest, llm: AsyncLLM) -> str | None:
    """The task that is named; else the one the model is configured for, else the first that it serves."""
    if request.task is not None:
        return present_name(request.task, llm.supported_tasks)
    configured = llm.model_config.pooler_config.task
    return configured or next((task for task in BY_ITSELF if task in llm.supported_tasks), None)


def _check_task(task: str | None, llm: AsyncLLM) -> None:
    """Refuse a task that the model does not serve, in the words of vLLM's route.

    Raises:
        ApiError: 400.
    """
    if task is None or task in llm.supported_tasks:
        return
    message = llm.pipeline.refusal(task)
    if task in BY_ITSELF:
        message = f"Unsupported task: {task!r} Supported tasks: {llm.supported_tasks}. {message}"
    raise ApiError(400, message, parameter="task", reason="invalid")


async def _by_plugin(request: PoolingRequest, llm: AsyncLLM, call: Call) -> Response:
    if request.task not in (None, "plugin"):
        message = "The 'data' field is only supported for the 'plugin' pooling task."
        raise ApiError(400, message, parameter="data", reason="invalid")
    params = PoolingParams(extra_kwargs=request.extra_kwargs) if request.extra_kwargs else None
    outputs = await llm.encode(
        {"data": request.data}, params, pooling_task="plugin", priority=request.priority + call.priority
    )
    return await plugin_answer(outputs[0].outputs, request, call, llm.pipeline.processor("plugin"))


async def tokenize(request: TokenizeRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The tokens of a text, also of one that is longer than the model reads; or of a conversation."""
    tokenizer = tokenizer_of(llm, NO_TOKENIZER)
    if request.messages is None:
        ids = await _of_text(request.prompt or "", request, tokenizer, call)
    else:
        ids = await _of_conversation(request, llm, call)
    return {
        "count": len(ids),
        "max_model_len": llm.model_config.max_model_len,
        "tokens": ids,
        "token_strs": await aside(_spelled, tokenizer, ids) if request.return_token_strs else None,
    }


def _spelled(tokenizer: Tokenizer, ids: list[int]) -> list[str | None]:
    """Tokens as the vocabulary spells them."""
    return [tokenizer.backend.id_to_token(token) for token in ids]


async def _of_text(text: str, request: TokenizeRequest, tokenizer: Tokenizer, call: Call) -> list[int]:
    check_size([text], call.settings.limits, "prompt")

    def work() -> list[int]:
        (encoding,) = tokenizer.encode_batch([text], add_special_tokens=request.add_special_tokens is not False)
        return encoding.ids

    return await aside(work)


async def _of_conversation(request: TokenizeRequest, llm: AsyncLLM, call: Call) -> list[int]:
    """The tokens that the model would be given."""
    prompts = prompts_of(request.conversation, call.settings.limits, llm)
    check_size(["".join(map(str, _texts_in(request.messages or [])))], call.settings.limits, "messages")
    pipeline, task = llm.pipeline, next((task for task in TASKS if task in llm.supported_tasks), None)
    params = PoolingParams(prompt="", on_overflow="chunk" if task == TASKS[0] else None)

    def work() -> list[int]:
        processor, items = pipeline.split(prompts, params, task)
        (job,) = pipeline.prepare(processor, [0], items)
        if job.error is not None:
            raise job.error
        first = job.requests[0]
        ids: list[int] = (first.input_ids if first.whole is None else first.whole).tolist()
        return ids

    if len(prompts) != 1:
        raise ApiError(400, "messages must be one conversation", parameter="messages", reason="invalid")
    return await aside(work)


def _texts_in(messages: list[Any]) -> Iterator[Any]:
    """The texts of a conversation."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        parts = content if isinstance(content, list) else [content]
        yield from (part.get("text", "") if isinstance(part, dict) else part or "" for part in parts)


async def detokenize(request: DetokenizeRequest, llm: AsyncLLM, call: Call) -> dict[str, str]:
    """The text of tokens."""
    tokenizer = tokenizer_of(llm, NO_TOKENIZER)
    check_count(len(request.tokens), call.settings.limits, "tokens")
    check_vocabulary(request.tokens, tokenizer, "tokens")
    return {"prompt": await aside(tokenizer.decode, request.tokens)}


Handler = Callable[[Any, AsyncLLM, Call], Awaitable[Any]]
CANDIDATES: tuple[tuple[str | None, type[BaseModel], Handler], ...] = (
    ("embed", EmbeddingRequest, embeddings),
    ("classify", ClassificationRequest, classify),
    ("score", RerankRequest, rerank),
    ("score", ScoreRequest, score),
    (None, PoolingRequest, pooling),
)


async def invocations(body: dict[str, Any] | None, llm: AsyncLLM, call: Call) -> Any:
    """The answer of the first route that the model serves and the body fits."""
    refusals: list[str] = []
    for task, model, handler in CANDIDATES:
        if task is not None and task not in llm.supported_tasks:
            continue
        try:
            request = validate(model, body)
        except ApiError as error:
            refusals.append(f"{model.__name__}: {error.message}")
            continue
        call.take_id(request)
        return await handler(request, llm, call)
    raise ApiError(400, "the body is that of no route:\n" + "\n".join(refusals), kind="Bad Request", reason="schema")
