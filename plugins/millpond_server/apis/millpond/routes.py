"""``POST /v1/represent``: several results of each text from one forward pass; ``POST /entities``."""

from dataclasses import asdict
from functools import partial
from typing import Any

from millpond import AsyncLLM, RepresentationsRequestOutput, SparseEmbeddingOutput
from millpond.types.outputs import ArrayOutput
from millpond_server.apis.common.answers import data_answer
from millpond_server.apis.common.input_type import purpose
from millpond_server.apis.common.inputs import prompts_of
from millpond_server.apis.common.tokenizing import aside
from millpond_server.apis.common.vector_types import KINDS, check_bits
from millpond_server.apis.millpond.schemas import EntitiesRequest, RepresentRequest, Wanted
from millpond_server.http.call import Call

FEW = 16  # texts whose results are put together at once


async def represent(request: RepresentRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """All results of a body's inputs."""
    outputs = await llm.represent(
        prompts_of(request, call.settings.limits, llm),
        [wanted.fields() for wanted in request.representations],
        priority=request.priority + call.priority,
        **_options(request, llm),
    )
    work = partial(_items, outputs, request, llm)
    data = work() if len(outputs) <= FEW else await aside(work)  # kinds of numbers take their time
    return data_answer(call, "represent", data, outputs)


def _options(request: RepresentRequest, llm: AsyncLLM) -> dict[str, Any]:
    """The options of a body, with what its texts are: a side, of a model that tells sides, else a purpose."""
    said = request.options()
    side = request.side(llm)
    if side is not None:
        return {**said, "input_type": side}
    named = request.input_type or {True: "query", False: "document", None: None}[request.is_query]
    return said if said.keys() & {"prompt", "prompt_name"} else {**said, **purpose(named, llm)}


def _items(
    outputs: list[RepresentationsRequestOutput], request: RepresentRequest, llm: AsyncLLM
) -> list[dict[str, Any]]:
    return [_item(place, output, request, llm) for place, output in enumerate(outputs)]


def _item(place: int, output: RepresentationsRequestOutput, request: RepresentRequest, llm: AsyncLLM) -> dict[str, Any]:
    pairs = zip(request.representations, output.outputs.results, strict=True)
    item: dict[str, Any] = {
        "index": place,
        "representations": [_represented(wanted, result, request, llm) for wanted, result in pairs],
        "num_tokens": output.num_prompt_tokens,
        "truncated": output.truncated,
        "num_dropped_tokens": output.num_dropped_tokens,
    }
    if request.return_tokens:
        item["token_ids"] = output.prompt_token_ids
        item["tokens"] = tokens_of(output.prompt_token_ids, llm)
    return item


def tokens_of(ids: list[int], llm: AsyncLLM) -> list[str]:
    """The tokens of ids as the vocabulary spells them; numbers where there is no tokenizer."""
    tokenizer = llm.pipeline.ctx.tokenizer
    return [(tokenizer and tokenizer.backend.id_to_token(token)) or str(token) for token in ids]


def names_of_terms(ids: list[int], llm: AsyncLLM) -> list[str]:
    """What sparse vectors are weights of: the tokens of ids, or numbers where they have no names."""
    return list(map(str, ids)) if llm.model_config.embedding.sparse == "features" else tokens_of(ids, llm)


def _represented(wanted: Wanted, result: ArrayOutput, request: RepresentRequest, llm: AsyncLLM) -> dict[str, Any]:
    if isinstance(result, SparseEmbeddingOutput):
        sparse: dict[str, Any] = {"indices": result.indices, "values": result.values}
        if request.return_tokens:
            sparse["tokens"] = names_of_terms(result.indices.tolist(), llm)
        return {"task": wanted.task, "shape": [result.size], "embeddings": {"sparse": sparse}}
    array = result.array
    check_bits(array.shape[-1], wanted.embedding_types)
    embeddings = {kind: KINDS[kind](array) for kind in dict.fromkeys(wanted.embedding_types)}
    return {"task": wanted.task, "shape": list(array.shape), "embeddings": embeddings}


async def entities(request: EntitiesRequest, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """The entities of a body's inputs."""
    outputs = await llm.entities(
        prompts_of(request, call.settings.limits, llm),
        aggregation=request.aggregation,
        ignore_labels=request.ignore_labels,
        priority=request.priority + call.priority,
        **request.options(),
    )
    found = ([asdict(entity) for entity in output.outputs] for output in outputs)
    data = [{"index": place, "entities": own} for place, own in enumerate(found)]
    return data_answer(call, "entities", data, outputs)
