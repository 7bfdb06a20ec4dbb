"""Handlers of ``POST /v1/embeddings`` and ``GET /v1/models``."""

import json
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from millpond import AsyncLLM, PoolingParams
from millpond.types.outputs import PoolingRequestOutput
from millpond_server.apis.common.input_type import input_type_options
from millpond_server.apis.common.inputs import image_prompts, prompts_of
from millpond_server.apis.common.responses import data_response, num_tokens
from millpond_server.apis.common.schemas import VectorOptions
from millpond_server.apis.common.vector_types import convert_vectors
from millpond_server.apis.jina.late_chunking import embed_chunks
from millpond_server.apis.openai.schemas import EmbeddingRequest, ModelCard, ModelList
from millpond_server.http.array_encoding import Base64, to_bytes
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError
from millpond_server.runtime.models import ServedModel

MAX_METADATA_ITEMS = 512  # of up to 120 bytes each: Python's http.client reads header lines of at most 64 KiB


async def embeddings(request: EmbeddingRequest, llm: AsyncLLM, call: Call) -> Any:
    """Return one vector per input, or one per token if the model embeds so. Empty texts are refused, like OpenAI."""
    check_no_empty_text(request.input)
    return embeddings_response(await embed(request, llm, call), request, call)


def check_no_empty_text(inputs: Any) -> None:
    """Refuse empty texts.

    Raises:
        ApiError: 400 with the path that embeds the special tokens of empty texts.
    """
    texts = inputs if isinstance(inputs, list) else [inputs]
    if "" in texts:
        field = f"input[{texts.index('')}]" if isinstance(inputs, list) else "input"
        message = (
            f"{field} cannot be an empty string: leave it out, or send it to /vllm/v1/embeddings, which embeds "
            "the special tokens of an empty text, like vLLM"
        )
        raise ApiError(400, message, parameter="input", reason="invalid")


async def embeddings_with_empty_texts(request: EmbeddingRequest, llm: AsyncLLM, call: Call) -> Any:
    """Return one vector per input, or one per token if the model embeds so. Empty texts are allowed, like vLLM."""
    return embeddings_response(await embed(request, llm, call), request, call)


def embeddings_response(
    outputs: Sequence[PoolingRequestOutput[Any]], request: EmbeddingRequest, call: Call, *, prefix: str = "embd"
) -> Any:
    """Return a response body with vectors in the requested type or encoding, and the ranges of their chunks."""
    requested_type = request.requested_type
    if requested_type is None:
        return vectors_response(outputs, request, call, object_type="embedding", field="embedding", prefix=prefix)
    values = convert_vectors([output.outputs.array for output in outputs], [requested_type])[requested_type]
    data = [
        with_chunks({"index": index, "object": "embedding", "embedding": value}, output)
        for index, (value, output) in enumerate(zip(values, outputs, strict=True))
    ]
    return data_response(call, prefix, data, outputs)


def with_chunks(item: dict[str, Any], output: PoolingRequestOutput[Any]) -> dict[str, Any]:
    """Return an item of a response with the ranges of the chunks that its request asked for."""
    chunks = output.late_chunking
    return item if chunks is None else {**item, "late_chunking": chunks}  # orjson serializes dataclasses


async def embed(
    request: EmbeddingRequest, llm: AsyncLLM, call: Call, *, task: str | None = None
) -> list[PoolingRequestOutput[Any]]:
    """Return the outputs of the model for a body's inputs.

    Args:
        request: The body.
        llm: The model.
        call: The call.
        task: "embed" for one vector per input (default: the task that the model embeds with, see ``AsyncLLM.embed``).
    """
    if request.late_chunking:
        return await embed_chunks(request, llm, call)
    outputs: list[PoolingRequestOutput[Any]] = []
    params = pooling_params(request, task)
    outputs += await llm.embed(
        modality_prompts(request, llm, call),
        pooling_params=params,
        priority=request.priority + call.priority,
        **embed_options(request, llm, llm.pipeline.embedding_task(params)),
    )
    return outputs


def modality_prompts(request: EmbeddingRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """Return the inputs of a body as prompts of its modality.

    Raises:
        ApiError: 400 for a modality that the model does not accept.
    """
    limits = call.settings.limits
    if request.modality == "text":
        prompts = prompts_of(request, limits, llm)
    elif request.modality not in llm.model_config.multimodal.modalities:
        modalities = ", ".join(llm.model_config.multimodal.modalities)
        message = f"modality={request.modality!r}: the model {call.served.name!r} reads {modalities}"
        raise ApiError(400, message, parameter="modality", reason="unsupported")
    else:
        prompts = image_prompts(request.input, limits)
    check_metadata_size(request, len(prompts))
    return prompts


def pooling_params(request: EmbeddingRequest, task: str | None = None) -> PoolingParams | None:
    """Return the pooling parameters of a body; None if it sets none: those of the model apply, already validated."""
    fields: dict[str, Any] = {
        "task": task,
        "dimensions": request.dimensions,
        "use_activation": request.use_activation,
        "extra_kwargs": mixed_modality_kwargs(request.mixed),
        "late_chunking_params": request.chunking,
    }
    values = list(fields.values())
    return None if values.count(None) == len(values) else PoolingParams(**fields)


def check_metadata_size(request: VectorOptions, count: int) -> None:
    """Refuse too many inputs, or the ranges of chunks, for an encoding format with metadata in a header.

    Raises:
        ApiError: 400 for more than clients can read in a header.
    """
    if request.encoding_format != "bytes":
        return
    if request.late_chunking_params is not None:
        message = (
            "encoding_format 'bytes' does not return the ranges of late_chunking_params: use 'float' or 'base64', or "
            "'bytes_only' without ranges"
        )
        raise ApiError(400, message, parameter="encoding_format", reason="unsupported")
    if count > MAX_METADATA_ITEMS:
        message = (
            f"encoding_format 'bytes' describes each result in a header, which clients can read for up to "
            f"{MAX_METADATA_ITEMS} inputs; the request has {count}. Send fewer, or use 'base64', or 'bytes_only', "
            "which has no header"
        )
        raise ApiError(400, message, parameter="encoding_format", reason="inputs")


def embed_options(request: EmbeddingRequest, llm: AsyncLLM, task: str) -> dict[str, Any]:
    """Return the keyword arguments of ``AsyncLLM`` for a body, with those of its input type if it has no prompt."""
    options, input_type = request.options(), request.task or request.input_type
    if input_type is None or "prompt" in options or "prompt_name" in options:
        return options
    return {**options, **input_type_options(input_type, llm, task)}


def mixed_modality_kwargs(mixed: str | None) -> dict[str, object] | None:
    """Return the pooling parameter for inputs with a text and an image."""
    return None if mixed is None else {"mixed_modality": mixed}


def vectors_response(
    outputs: Sequence[PoolingRequestOutput[Any]],
    request: VectorOptions,
    call: Call,
    *,
    object_type: str,
    field: str,
    prefix: str,
) -> Any:
    """Return a response with arrays in the requested encoding.

    Args:
        outputs: The outputs of the model.
        request: The body.
        call: The call.
        object_type: The field ``object`` of an item.
        field: The field of an item for its values.
        prefix: The prefix of the response's id.
    """
    if request.encoding_format in ("bytes", "bytes_only"):
        return _bytes_response(outputs, request, call, prefix)
    data: list[dict[str, Any]] = []
    for index, output in enumerate(outputs):
        array: Any = output.outputs.array
        if request.encoding_format != "float":
            array = Base64(array, request.embed_dtype, request.endianness)
        data.append(with_chunks({"index": index, "object": object_type, field: array}, output))
    return data_response(call, prefix, data, outputs)


def _bytes_response(
    outputs: Sequence[PoolingRequestOutput[Any]], request: VectorOptions, call: Call, prefix: str
) -> Response:
    parts = [to_bytes(output.outputs.array, request.embed_dtype, request.endianness) for output in outputs]
    headers: dict[str, str] = {}
    if request.encoding_format == "bytes":
        items: list[dict[str, Any]] = []
        start = 0
        for index, (part, output) in enumerate(zip(parts, outputs, strict=True)):
            items.append(
                {
                    "index": index,
                    "embed_dtype": request.embed_dtype,
                    "endianness": request.endianness,
                    "start": start,
                    "end": start + len(part),
                    "shape": list(output.outputs.array.shape),
                }
            )
            start += len(part)
        tokens = num_tokens(outputs)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        metadata = {**data_response(call, prefix, items, ()), "usage": usage}
        headers["metadata"] = json.dumps(metadata, separators=(",", ":"))  # in ASCII: a model may have any name
    return Response(b"".join(parts), media_type="application/octet-stream", headers=headers)


async def list_models(_: Any, __: AsyncLLM, call: Call) -> ModelList:
    """Return all models, once for each of their names; the default model is the first."""
    return ModelList(data=[await model_card(model, name) for model in call.models.served for name in model.names])


async def show_model(_: Any, __: AsyncLLM, call: Call) -> ModelCard:
    """Return one model."""
    name = call.path_values["id"]
    return await model_card(call.models.get(name), name)


async def model_card(served: ServedModel, name: str) -> ModelCard:
    """Return the description of a model under one of its names."""
    config, engine, space = served.llm.model_config, served.llm.engine, await served.space()
    waiting = float(engine.waiting_tokens)
    return ModelCard(
        id=name,
        created=served.created,
        root=served.name,  # the folder of the model is private
        max_model_len=config.max_model_len,
        tasks=list(served.llm.supported_tasks),
        modalities=list(config.multimodal.modalities),
        embedding_size=config.embedding_size,
        matryoshka_dimensions=list(config.matryoshka_dimensions) if config.is_matryoshka else None,
        space_id=None if space is None else space.id,
        stats={
            "queue_fraction": waiting / engine.max_waiting_tokens,
            "queue_absolute": waiting,
            "results_pending": float(engine.pending),
            "batch_size": float(engine.engine.scheduler.max_num_seqs),
        },
    )
