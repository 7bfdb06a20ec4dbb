"""Handlers of ``POST /v1/represent`` and ``POST /entities``."""

from dataclasses import asdict
from functools import partial
from typing import Any

from millpond import AsyncLLM, RepresentationsRequestOutput, SparseEmbeddingOutput
from millpond.types.outputs import PoolingOutput
from millpond_server.apis.common.input_type import input_type_options
from millpond_server.apis.common.inputs import prompts_of
from millpond_server.apis.common.responses import data_response
from millpond_server.apis.common.tokenizing import run_in_thread
from millpond_server.apis.common.vector_types import CONVERTERS, check_binary_size
from millpond_server.apis.millpond.schemas import EntitiesRequest, RepresentationOptions, RepresentRequest
from millpond_server.http.call import Call

MAX_OUTPUTS_IN_EVENT_LOOP = 16  # more outputs are converted in a thread


async def represent(request: RepresentRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return several results of each input from one forward pass."""
    outputs = await llm.represent(
        prompts_of(request, call.settings.limits, llm),
        [representation.as_task() for representation in request.representations],
        priority=request.priority + call.priority,
        **_options(request, llm),
    )
    convert = partial(_items, outputs, request, llm)
    data = convert() if len(outputs) <= MAX_OUTPUTS_IN_EVENT_LOOP else await run_in_thread(convert)
    return data_response(call, "represent", data, outputs)


def _options(request: RepresentRequest, llm: AsyncLLM) -> dict[str, Any]:
    """Return the keyword arguments of ``AsyncLLM`` for a body, with those of its input type."""
    options = request.options()
    encoder_input_type = request.encoder_input_type(llm)
    if encoder_input_type is not None:
        return {**options, "input_type": encoder_input_type}
    if options.keys() & {"prompt", "prompt_name"}:
        return options
    input_type = request.input_type or {True: "query", False: "document", None: None}[request.is_query]
    return {**options, **input_type_options(input_type, llm)}


def _items(
    outputs: list[RepresentationsRequestOutput], request: RepresentRequest, llm: AsyncLLM
) -> list[dict[str, Any]]:
    return [_item(index, output, request, llm) for index, output in enumerate(outputs)]


def _item(index: int, output: RepresentationsRequestOutput, request: RepresentRequest, llm: AsyncLLM) -> dict[str, Any]:
    pairs = zip(request.representations, output.outputs.results, strict=True)
    item: dict[str, Any] = {
        "index": index,
        "representations": [_representation(options, result, request, llm) for options, result in pairs],
        "num_tokens": output.num_prompt_tokens,
        "truncated": output.truncated,
        "num_dropped_tokens": output.num_dropped_tokens,
    }
    if request.return_tokens:
        item["token_ids"] = output.prompt_token_ids
        item["tokens"] = token_strings(output.prompt_token_ids, llm)
    return item


def token_strings(ids: list[int], llm: AsyncLLM) -> list[str]:
    """Return the tokens of ids in the vocabulary; the ids themselves for a model without a tokenizer."""
    tokenizer = llm.pipeline.ctx.tokenizer
    return [(tokenizer and tokenizer.backend.id_to_token(token)) or str(token) for token in ids]


def term_names(ids: list[int], llm: AsyncLLM) -> list[str]:
    """Return the names of a sparse vector's dimensions: tokens, or the ids for a sparse autoencoder's features."""
    return list(map(str, ids)) if llm.model_config.embedding.sparse == "features" else token_strings(ids, llm)


def _representation(
    options: RepresentationOptions, result: PoolingOutput, request: RepresentRequest, llm: AsyncLLM
) -> dict[str, Any]:
    if isinstance(result, SparseEmbeddingOutput):
        sparse: dict[str, Any] = {"indices": result.indices, "values": result.values}
        if request.return_tokens:
            sparse["tokens"] = term_names(result.indices.tolist(), llm)
        return {"task": options.task, "shape": [result.size], "embeddings": {"sparse": sparse}}
    array = result.array
    check_binary_size(array.shape[-1], options.embedding_types)
    embeddings = {name: CONVERTERS[name](array) for name in dict.fromkeys(options.embedding_types)}
    return {"task": options.task, "shape": list(array.shape), "embeddings": embeddings}


async def entities(request: EntitiesRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return the entities of each input."""
    outputs = await llm.entities(
        prompts_of(request, call.settings.limits, llm),
        aggregation=request.aggregation,
        ignore_labels=request.ignore_labels,
        priority=request.priority + call.priority,
        **request.options(),
    )
    data = [
        {"index": index, "entities": [asdict(entity) for entity in output.outputs]}
        for index, output in enumerate(outputs)
    ]
    return data_response(call, "entities", data, outputs)
