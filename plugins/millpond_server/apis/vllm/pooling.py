"""``POST /pooling``: the bare result of any task."""

from typing import Any

from starlette.responses import Response

from millpond import AsyncLLM, PoolingParams
from millpond.pipeline.pipeline import present_name
from millpond.types.late_chunking import LateChunkingParams
from millpond_server.apis.common.inputs import prompts_of
from millpond_server.apis.openai.routes import check_header, vectors
from millpond_server.apis.vllm.plugin_output import plugin_answer
from millpond_server.apis.vllm.pooling_schemas import PoolingRequest
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

ELSEWHERE = {
    "entities": "entities are no numbers: POST /entities gives them",
    "embed_chunks": "vectors of chunks are given by LLM.embed_chunks alone, in Python",
    "represent": "several results of a text are asked for by name: POST /v1/represent gives them",
}
BY_ITSELF = ("embed", "classify", "token_embed", "token_classify")


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
    extra: dict[str, object] | None = None if request.pool_factor is None else {"pool_factor": request.pool_factor}
    outputs = await llm.encode(
        prompts,
        PoolingParams(
            use_activation=request.use_activation, extra_kwargs=extra, late_chunking_params=_late_chunking(request)
        ),
        pooling_task=task,
        input_type=_side(request, llm, task),
        priority=request.priority + call.priority,
        **request.options(),
    )
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
    config = llm.model_config
    differs = config.late_interaction is not None and task == "token_embed"
    differs = differs or (config.query_table is not None and task in ("embed", "embed_sparse"))
    differs = differs or bool(config.routes)
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
    outputs = await llm.encode({"data": request.data}, pooling_task="plugin", priority=request.priority + call.priority)
    return await plugin_answer(outputs[0].outputs, request, call, llm.pipeline.processor("plugin"))
