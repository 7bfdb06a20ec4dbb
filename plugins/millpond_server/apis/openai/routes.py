"""``POST /v1/embeddings``: one vector per input; ``GET /v1/models``: the models of the server."""

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.responses import Response

from millpond import AsyncLLM, PoolingParams
from millpond.types.outputs import PoolingRequestOutput
from millpond_server.apis.common.answers import data_answer, num_tokens
from millpond_server.apis.common.input_type import purpose
from millpond_server.apis.common.inputs import images_of, prompts_of
from millpond_server.apis.common.schemas import VectorOptions
from millpond_server.apis.common.vector_types import by_type
from millpond_server.apis.jina.late_chunking import in_chunks
from millpond_server.apis.openai.schemas import EmbeddingRequest, ModelCard, ModelList
from millpond_server.http.array_encoding import Base64, to_bytes
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError
from millpond_server.runtime.models import ServedModel

ITEMS_IN_A_HEADER = 512  # of up to 120 bytes each: Python's http.client reads lines of 64 KiB


async def embeddings(request: EmbeddingRequest, llm: AsyncLLM, call: Call) -> Any:
    """The vectors of a body's inputs; texts without characters are refused, as OpenAI's API refuses them."""
    check_filled(request.input)
    return told(await embedded(request, llm, call), request, call)


def check_filled(given: Any) -> None:
    """Refuse a text without characters.

    Raises:
        ApiError: 400, which tells of the path that embeds the special tokens of such a text.
    """
    texts = given if isinstance(given, list) else [given]
    if "" in texts:
        place = f"input[{texts.index('')}]" if isinstance(given, list) else "input"
        message = (
            f"{place} cannot be an empty string: leave it out, or send it to /vllm/v1/embeddings, which embeds "
            "the special tokens of an empty text, as vLLM does"
        )
        raise ApiError(400, message, parameter="input", reason="invalid")


async def embeddings_of_all(request: EmbeddingRequest, llm: AsyncLLM, call: Call) -> Any:
    """The vectors of a body's inputs, texts without characters among them, as vLLM has it."""
    return told(await embedded(request, llm, call), request, call)


def told(
    outputs: Sequence[PoolingRequestOutput[Any]], request: EmbeddingRequest, call: Call, *, prefix: str = "embd"
) -> Any:
    """The answer that tells of vectors, in the kind of numbers or the encoding that the body asks for."""
    kind = request.kind
    if kind is None:
        return vectors(outputs, request, call, kind="embedding", field="embedding", prefix=prefix)
    arrays = by_type([output.outputs.array for output in outputs], [kind])[kind]
    data = [{"index": i, "object": "embedding", "embedding": array} for i, array in enumerate(arrays)]
    return data_answer(call, prefix, data, outputs)


async def embedded(request: EmbeddingRequest, llm: AsyncLLM, call: Call) -> list[PoolingRequestOutput[Any]]:
    """What the model makes of a body's inputs."""
    if request.late_chunking:
        return await in_chunks(request, llm, call)
    outputs: list[PoolingRequestOutput[Any]] = []
    outputs += await llm.embed(
        prompts_of_modality(request, llm, call),
        pooling_params=params_of(request),
        priority=request.priority + call.priority,
        **with_purpose(request, llm),
    )
    return outputs


def prompts_of_modality(request: EmbeddingRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """The inputs of a body as prompts: texts, or images where it says so.

    Raises:
        ApiError: 400 for a modality that the model does not read.
    """
    limits = call.settings.limits
    if request.modality == "text":
        prompts = prompts_of(request, limits, llm)
    elif request.modality not in llm.model_config.multimodal.modalities:
        there = ", ".join(llm.model_config.multimodal.modalities)
        message = f"modality={request.modality!r}: the model {call.served.name!r} reads {there}"
        raise ApiError(400, message, parameter="modality", reason="unsupported")
    else:
        prompts = images_of(request.input, limits)
    check_header(request, len(prompts))
    return prompts


def params_of(request: EmbeddingRequest) -> PoolingParams:
    """What a body says of its vectors, as pooling parameters."""
    return PoolingParams(
        dimensions=request.dimensions, use_activation=request.use_activation, extra_kwargs=mixed_modality(request.mixed)
    )


def check_header(request: VectorOptions, count: int) -> None:
    """Refuse more inputs than a header can tell of, where one is asked for.

    Raises:
        ApiError: 400.
    """
    if request.encoding_format == "bytes" and count > ITEMS_IN_A_HEADER:
        message = (
            f"encoding_format 'bytes' tells of each result in one header, which clients read for up to "
            f"{ITEMS_IN_A_HEADER} inputs; there are {count}. Send fewer, or ask for 'base64', or for 'bytes_only', "
            "which has no header"
        )
        raise ApiError(400, message, parameter="encoding_format", reason="inputs")


def with_purpose(request: EmbeddingRequest, llm: AsyncLLM) -> dict[str, Any]:
    """The options of a body, with what it says that its texts are for where it names no prompt."""
    said, named = request.options(), request.task or request.input_type
    if named is None or "prompt" in said or "prompt_name" in said:
        return said
    return {**said, **purpose(named, llm)}


def mixed_modality(way: str | None) -> dict[str, object] | None:
    """What a text and an image in one input become, as pooling parameters have it."""
    return None if way is None else {"mixed_modality": way}


def vectors(
    outputs: Sequence[PoolingRequestOutput[Any]],
    request: VectorOptions,
    call: Call,
    *,
    kind: str,
    field: str,
    prefix: str,
) -> Any:
    """Arrays in the encoding that the body asks for.

    Args:
        outputs: What became of the inputs.
        request: What it asks for.
        call: The call.
        kind: What an item calls itself.
        field: The item's field that holds its values.
        prefix: Of the answer's id.
    """
    if request.encoding_format in ("bytes", "bytes_only"):
        return _as_bytes(outputs, request, call, prefix)
    data = [
        {
            "index": place,
            "object": kind,
            field: output.outputs.array
            if request.encoding_format == "float"
            else Base64(output.outputs.array, request.embed_dtype, request.endianness),
        }
        for place, output in enumerate(outputs)
    ]
    return data_answer(call, prefix, data, outputs)


def _as_bytes(
    outputs: Sequence[PoolingRequestOutput[Any]], request: VectorOptions, call: Call, prefix: str
) -> Response:
    parts = [to_bytes(output.outputs.array, request.embed_dtype, request.endianness) for output in outputs]
    headers: dict[str, str] = {}
    if request.encoding_format == "bytes":
        items: list[dict[str, Any]] = []
        start = 0
        for place, (part, output) in enumerate(zip(parts, outputs, strict=True)):
            items.append(
                {
                    "index": place,
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
        headers["metadata"] = orjson.dumps({**data_answer(call, prefix, items, ()), "usage": usage}).decode()
    return Response(b"".join(parts), media_type="application/octet-stream", headers=headers)


async def list_models(_: Any, __: AsyncLLM, call: Call) -> ModelList:
    """Every model under each of its names, the default one first."""
    return ModelList(data=[card(model, name) for model in call.models.served for name in model.names])


async def show_model(_: Any, __: AsyncLLM, call: Call) -> ModelCard:
    """One model."""
    name = call.path_values["id"]
    return card(call.models.get(name), name)


def card(served: ServedModel, name: str) -> ModelCard:
    """What is told of a model."""
    config, engine = served.llm.model_config, served.llm.engine
    waiting = float(engine.waiting_tokens)
    return ModelCard(
        id=name,
        created=served.created,
        root=served.name,  # not the folder that it is in, which is the operator's business
        max_model_len=config.max_model_len,
        tasks=list(served.llm.supported_tasks),
        embedding_size=config.embedding_size,
        matryoshka_dimensions=list(config.matryoshka_dimensions) if config.is_matryoshka else None,
        stats={
            "queue_fraction": waiting / engine.max_waiting_tokens,
            "queue_absolute": waiting,
            "results_pending": float(engine.pending),
            "batch_size": float(engine.engine.scheduler.max_num_seqs),
        },
    )
