"""Handlers of vLLM's routes: scores, rankings, classes, results of any pooling task, tokens, and invocations."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from millpond import AsyncLLM, PoolingParams, ScoringRequestOutput
from millpond.model.tokenizer import Tokenizer
from millpond.pipeline.pipeline import present_name
from millpond.types.errors import located
from millpond.types.outputs import PoolingOutput
from millpond_server.apis.common.inputs import prompts_of
from millpond_server.apis.common.responses import data_response, num_tokens
from millpond_server.apis.common.tokenizing import (
    check_count,
    check_size,
    check_vocabulary,
    run_in_thread,
    tokenizer_of,
)
from millpond_server.apis.openai.routes import (
    check_metadata_size,
    embeddings,
    mixed_modality_kwargs,
    vectors_response,
)
from millpond_server.apis.openai.schemas import EmbeddingRequest, usage_of
from millpond_server.apis.vllm.message_parts import check_score_images, document_response, score_input, score_inputs
from millpond_server.apis.vllm.plugin_output import plugin_response, values_response
from millpond_server.apis.vllm.schemas import (
    ClassificationRequest,
    DetokenizeRequest,
    PoolingRequest,
    RerankRequest,
    ScoreRequest,
    ScoringOptions,
    TokenizeRequest,
)
from millpond_server.http.body import validate
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError
from millpond_server.runtime.settings import Limits

NO_TOKENIZER_STATUS = 501
OTHER_ROUTES = {
    "entities": "entities are not arrays: POST /entities returns them",
    "embed_chunks": "vectors of chunks are only available in Python: LLM.embed_chunks",
    "represent": "several results of a text are requested by name: POST /v1/represent returns them",
}
DEFAULT_TASKS = ("embed", "classify", "token_embed", "token_classify")  # the first supported one is the default
CONVERSATION_TASKS = ("embed", "token_embed", "classify", "token_classify")  # their processors render conversations


async def score(request: ScoreRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return the score of each pair."""
    queries, documents = request.queries_and_documents
    outputs = await score_pairs(score_inputs(queries), score_inputs(documents), request, llm, call)
    data = [{"index": index, "object": "score", "score": output.outputs.score} for index, output in enumerate(outputs)]
    return data_response(call, "score", data, outputs)


async def rerank(request: RerankRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return the documents, most relevant first."""
    items = request.documents if isinstance(request.documents, list) else [request.documents]
    query, documents = score_input(request.query), [score_input(item, request.rank_fields) for item in items]
    _check_contents("query", [query])
    _check_contents("documents", documents)
    outputs = await score_pairs(query, documents, request, llm, call)
    results: list[dict[str, Any]] = []
    for index in ranked(outputs)[: request.top_n or len(outputs)]:
        result: dict[str, Any] = {"index": index, "relevance_score": outputs[index].outputs.score}
        if request.return_documents:
            result["document"] = document_response(documents[index])
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


async def score_pairs(
    queries: object, documents: object, request: ScoringOptions, llm: AsyncLLM, call: Call
) -> list[ScoringRequestOutput]:
    """Return the outputs of the model for queries and documents, after checking their numbers."""
    check_list_lengths(call.settings.limits, queries=queries, documents=documents)
    check_score_images((queries, documents), call.settings.limits)
    outputs = await llm.score(
        queries,
        documents,
        pooling_params=PoolingParams(
            use_activation=request.use_activation, extra_kwargs=mixed_modality_kwargs(request.mixed)
        ),
        priority=request.priority + call.priority,
        **request.score_options(),
        **request.options(),
    )
    check_not_truncated(outputs, request)
    return outputs


def check_not_truncated(outputs: Sequence[ScoringRequestOutput], request: ScoringOptions) -> None:
    """Refuse ``max_chunks_per_doc`` if a pair was truncated: other chunks would change its score.

    Raises:
        ApiError: 400 with the number of removed tokens.
    """
    index = next((index for index, output in enumerate(outputs) if output.num_dropped_tokens), None)
    if request.max_chunks_per_doc is None or index is None:
        return
    message = (
        f"max_chunks_per_doc={request.max_chunks_per_doc} is not supported for texts that are truncated: documents are "
        f"read as one chunk, and at least {outputs[index].num_dropped_tokens} tokens of pair {index} were removed; "
        "leave the field out to score the remaining text, or send shorter documents"
    )
    raise ApiError(400, message, parameter="max_chunks_per_doc", reason="unsupported")


def check_list_lengths(limits: Limits, **fields: object) -> None:
    """Refuse fields that contain too many texts.

    Raises:
        ApiError: 413 with the name of the field.
    """
    for name, value in fields.items():
        if isinstance(value, list) and len(value) > limits.documents:
            message = f"{name} contains {len(value)} items; the list length is limited to {limits.documents}"
            raise ApiError(413, message, parameter=name, reason="inputs")


def ranked(outputs: Sequence[ScoringRequestOutput]) -> list[int]:
    """Return the indices of outputs by descending score; equal scores keep their order."""
    return sorted(range(len(outputs)), key=lambda index: -outputs[index].outputs.score)


def _check_contents(field: str, contents: Sequence[Any]) -> None:
    """Refuse a query or documents that are neither texts nor objects.

    Raises:
        ApiError: 400 with the name of the field.
    """
    if not all(isinstance(content, str | dict) for content in contents):
        subject = "a query" if field == "query" else "a document"
        message = f"{subject} must be a text, or an object with a `text`, an `image` or a `content` of parts"
        raise ApiError(400, message, parameter=field, reason="invalid")


async def classify(request: ClassificationRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return the most probable class of each input, and the probabilities of all classes."""
    prompts = prompts_of(request, call.settings.limits, llm, pairs=True)
    outputs = await llm.classify(
        prompts,
        pooling_params=PoolingParams(use_activation=request.use_activation),
        priority=request.priority + call.priority,
        **request.options(),
    )
    labels = llm.model_config.labels
    data = []
    for index, output in enumerate(outputs):
        probs = output.outputs.array
        best = int(probs.argmax())
        label = labels[best] if best < len(labels) else None
        data.append({"index": index, "label": label, "probs": probs, "num_classes": len(probs)})
    return data_response(call, "classify", data, outputs)


async def pooling(request: PoolingRequest, llm: AsyncLLM, call: Call) -> Any:
    """Return the results of a pooling task for a body's inputs, or of an IO processor plugin for its data."""
    if request.data is not None and not _reads_objects(request, llm):
        return await _run_plugin(request, llm, call)
    if request.dimensions is not None:
        raise ApiError(400, "dimensions is currently not supported", parameter="dimensions", reason="invalid")
    if request.data is None:
        prompts = prompts_of(request, call.settings.limits, llm)
    else:
        prompts = request.data if isinstance(request.data, list) else [request.data]
        check_count(len(prompts), call.settings.limits, "data")  # each takes at least one token
    check_metadata_size(request, len(prompts))
    task = _task(request, llm)
    _check_task(task, llm)
    if task in OTHER_ROUTES and task in llm.supported_tasks:
        raise ApiError(400, OTHER_ROUTES[task], parameter="task", reason="invalid")
    extra: dict[str, Any] = dict(request.extra_kwargs or {})
    if request.pool_factor is not None:
        extra["pool_factor"] = request.pool_factor
    outputs = await llm.encode(
        prompts,
        PoolingParams(
            use_activation=request.use_activation,
            extra_kwargs=extra or None,
            late_chunking_params=request.chunking,
        ),
        pooling_task=task,
        input_type=_input_type(request, llm, task),
        priority=request.priority + call.priority,
        **request.options(),
    )
    if not all(isinstance(output.outputs, PoolingOutput) for output in outputs):
        return await values_response(outputs, call, llm.pipeline.processor(task))
    return vectors_response(outputs, request, call, object_type="pooling", field="data", prefix="pooling")


def _input_type(request: PoolingRequest, llm: AsyncLLM, task: str | None) -> str | None:
    """Return "query" or "document" if the model encodes them differently for a task."""
    retrieval = llm.model_config.retrieval
    differs = retrieval.late_interaction is not None and task == "token_embed"
    differs = differs or (retrieval.static_query_weights is not None and task in ("embed", "embed_sparse"))
    differs = differs or bool(retrieval.routes)
    return request.encoder_input_type(llm) if differs else None


def _task(request: PoolingRequest, llm: AsyncLLM) -> str | None:
    """Return the task of the request, else the configured task of the model, else the first default task."""
    if request.task is not None:
        return present_name(request.task, llm.supported_tasks)
    configured = llm.model_config.pooler_config.task
    return configured or next((task for task in DEFAULT_TASKS if task in llm.supported_tasks), None)


def _check_task(task: str | None, llm: AsyncLLM) -> None:
    """Refuse a task that the model does not support, with vLLM's message.

    Raises:
        ApiError: 400 with the supported tasks.
    """
    if task is None or task in llm.supported_tasks:
        return
    message = llm.pipeline.refusal(task)
    if task in DEFAULT_TASKS:
        message = f"Unsupported task: {task!r} Supported tasks: {llm.supported_tasks}. {message}"
    raise ApiError(400, message, parameter="task", reason="invalid")


def _reads_objects(request: PoolingRequest, llm: AsyncLLM) -> bool:
    """Return True if the task of a request reads objects."""
    task = _task(request, llm)
    return task in llm.supported_tasks and llm.pipeline.bind(task).item_type is not None


async def _run_plugin(request: PoolingRequest, llm: AsyncLLM, call: Call) -> Response:
    if request.task not in (None, "plugin"):
        message = "The 'data' field is only supported for the 'plugin' pooling task."
        raise ApiError(400, message, parameter="data", reason="invalid")
    params = PoolingParams(extra_kwargs=request.extra_kwargs) if request.extra_kwargs else None
    outputs = await llm.encode(
        {"data": request.data}, params, pooling_task="plugin", priority=request.priority + call.priority
    )
    return await plugin_response(outputs[0].outputs, request, call, llm.pipeline.processor("plugin"))


async def tokenize(request: TokenizeRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return the tokens of a text or a conversation. A text may be longer than the model's maximum length."""
    tokenizer = tokenizer_of(llm, NO_TOKENIZER_STATUS)
    if request.messages is None:
        ids = await _tokenize_text(request.prompt or "", request, tokenizer, call)
    else:
        ids = await _tokenize_conversation(request, llm, call)
    return {
        "count": len(ids),
        "max_model_len": llm.model_config.max_model_len,
        "tokens": ids,
        "token_strs": await run_in_thread(_token_strings, tokenizer, ids) if request.return_token_strs else None,
    }


def _token_strings(tokenizer: Tokenizer, ids: list[int]) -> list[str | None]:
    return [tokenizer.backend.id_to_token(token) for token in ids]


async def _tokenize_text(text: str, request: TokenizeRequest, tokenizer: Tokenizer, call: Call) -> list[int]:
    check_size([text], call.settings.limits, "prompt")

    def work() -> list[int]:
        (encoding,) = tokenizer.encode_batch([text], add_special_tokens=request.add_special_tokens is not False)
        return encoding.ids

    return await run_in_thread(work)


async def _tokenize_conversation(request: TokenizeRequest, llm: AsyncLLM, call: Call) -> list[int]:
    """Return the token ids of a conversation, as the model receives them."""
    prompts = prompts_of(request.conversation, call.settings.limits, llm)
    check_size(["".join(map(str, _texts_in(request.messages or [])))], call.settings.limits, "messages")
    pipeline, task = llm.pipeline, next((task for task in CONVERSATION_TASKS if task in llm.supported_tasks), None)
    params = PoolingParams(prompt="", on_overflow="chunk" if task == "embed" else None)

    def work() -> list[int]:
        bound = pipeline.task_of(task, params)
        (job,) = bound.encode([0], bound.items(prompts, params))
        if job.error is not None:
            raise located(job.error, job.index)
        return job.prompt_token_ids

    if len(prompts) != 1:
        raise ApiError(400, "messages must be one conversation", parameter="messages", reason="invalid")
    return await run_in_thread(work)


def _texts_in(messages: list[Any]) -> Iterator[Any]:
    """Yield the texts of a conversation."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        parts = content if isinstance(content, list) else [content]
        yield from (part.get("text", "") if isinstance(part, dict) else part or "" for part in parts)


async def detokenize(request: DetokenizeRequest, llm: AsyncLLM, call: Call) -> dict[str, str]:
    """Return the text of token ids."""
    tokenizer = tokenizer_of(llm, NO_TOKENIZER_STATUS)
    check_count(len(request.tokens), call.settings.limits, "tokens")
    check_vocabulary(request.tokens, tokenizer, "tokens")
    return {"prompt": await run_in_thread(tokenizer.decode, request.tokens)}


Handler = Callable[[Any, AsyncLLM, Call], Awaitable[Any]]
INVOCATION_HANDLERS: tuple[tuple[str | None, type[BaseModel], Handler], ...] = (
    ("embed", EmbeddingRequest, embeddings),
    ("classify", ClassificationRequest, classify),
    ("score", RerankRequest, rerank),
    ("score", ScoreRequest, score),
    (None, PoolingRequest, pooling),
)


async def invocations(body: dict[str, Any] | None, llm: AsyncLLM, call: Call) -> Any:
    """Return the response of the first route that the model supports and whose schema the body matches."""
    errors: list[str] = []
    for task, model, handler in INVOCATION_HANDLERS:
        if task is not None and task not in llm.supported_tasks:
            continue
        try:
            request = validate(model, body)
        except ApiError as error:
            errors.append(f"{model.__name__}: {error.message}")
            continue
        call.take_id(request)
        return await handler(request, llm, call)
    raise ApiError(400, "the body matches no route:\n" + "\n".join(errors), kind="Bad Request", reason="schema")
