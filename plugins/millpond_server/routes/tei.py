"""The routes of text-embeddings-inference: bare lists, and errors in its words."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import orjson
from starlette.responses import Response

import millpond
from millpond import AsyncLLM, PoolingParams
from millpond_server.call import Call
from millpond_server.errors import ApiError, answer, as_api_error
from millpond_server.inputs import read_inputs
from millpond_server.protocol.tei import (
    TeiDecodeRequest,
    TeiEmbedRequest,
    TeiPredictRequest,
    TeiRerankRequest,
    TeiSimilarityRequest,
    TeiSparseRequest,
    TeiTokenizeRequest,
)
from millpond_server.routes.scoring import check_sides, ranked
from millpond_server.tokenising import aside, check_count, check_size

KINDS = {
    400: "Validation",
    413: "Validation",
    415: "Validation",
    422: "Tokenizer",
    429: "Overloaded",
    503: "Overloaded",
}
VALIDATION = (400, 415)
EMPTY = "Empty"
PAIR = 2
ERRORS = ("TeiError",)  # the bodies of its errors, by their names in the description of the routes


def render_error(error: ApiError) -> Response:
    """An error in the words of text-embeddings-inference, whose clients take 422 for a request at fault."""
    kind = EMPTY if error.kind == EMPTY else KINDS.get(error.status, "Backend")
    status = 424 if error.status == 500 else error.status  # noqa: PLR2004
    status = 422 if error.status in VALIDATION and kind != EMPTY else status
    body = orjson.dumps({"error": error.message, "error_type": kind})
    return Response(body, status_code=status, headers=error.headers, media_type="application/json")


def render_of(dialect: str, error: ApiError) -> Response:
    """An error of a path with two dialects: in these words if the body was taken for one of this dialect."""
    ours = (error.parameter or "").startswith(f"body.{dialect}")
    return (render_error if ours else answer)(error)


@contextmanager
def own_errors(call: Call) -> Iterator[None]:
    """Errors that are raised within are written in these words, whatever the route."""
    try:
        yield
    except Exception as error:
        failure = as_api_error(error, overload_status=call.settings.overload_status, served=call.served)
        failure.render = render_error
        raise failure from error


def check_some(given: Any, name: str) -> None:
    """Refuse an empty list in the words of text-embeddings-inference.

    Raises:
        ApiError: 400, of its kind "Empty".
    """
    if given == []:
        raise ApiError(400, f"`{name}` cannot be empty", kind=EMPTY, parameter=name, reason="invalid")


def check_inputs(given: Any) -> None:
    """Refuse an empty list, and texts without characters among the inputs, as text-embeddings-inference does.

    Raises:
        ApiError: 400, of its kind "Empty" for a list, else of its kind "Validation".
    """
    check_some(given, "inputs")
    if _is_empty(given) or (isinstance(given, list) and any(map(_is_empty, given))):
        raise ApiError(400, "`inputs` cannot be empty", parameter="inputs", reason="invalid")


def _is_empty(given: Any) -> bool:
    """Whether an input is a text without characters, no token ids, or a pair of such texts."""
    return given == "" or (isinstance(given, list) and all(text == "" for text in given))


async def embed(request: TeiEmbedRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """One vector a text."""
    check_inputs(request.inputs)
    outputs = await llm.embed(
        read_inputs(request.inputs, call.settings.limits, llm, parameter="inputs"),
        pooling_params=PoolingParams(dimensions=request.dimensions, use_activation=request.normalize),
        priority=call.priority,
        **request.options(),
    )
    return [output.outputs.array for output in outputs]


async def embed_all(request: TeiEmbedRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """One vector a token, as the model's last layer gives it."""
    check_inputs(request.inputs)
    outputs = await llm.encode(
        read_inputs(request.inputs, call.settings.limits, llm, parameter="inputs"),
        PoolingParams(use_activation=False),
        pooling_task="token_embed",
        priority=call.priority,
        **request.options(),
    )
    return [output.outputs.array for output in outputs]


async def embed_sparse(request: TeiSparseRequest, llm: AsyncLLM, call: Call) -> list[list[dict[str, Any]]]:
    """The weights of tokens of the vocabulary, by their ids, a list a text."""
    check_inputs(request.inputs)
    outputs = await llm.embed_sparse(
        read_inputs(request.inputs, call.settings.limits, llm, parameter="inputs"),
        max_active_dims=request.max_active_dims,
        input_type=request.side(llm) if llm.model_config.query_table is not None else None,
        priority=call.priority,
        **request.options(),
    )
    found = (output.outputs for output in outputs)
    return [
        [
            {"index": index, "value": value}
            for index, value in zip(one.indices.tolist(), one.values.tolist(), strict=True)
        ]
        for one in found
    ]


async def predict(request: TeiPredictRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """The classes of texts, or of pairs of texts, most probable first."""
    check_inputs(request.inputs)
    given, many = request.inputs, True
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], str)):
        given, many = [given], False
    if not isinstance(given, list) or not given:
        raise ApiError(400, "`inputs` must be a text, a pair of texts, or a list of these", parameter="inputs")
    items = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in given]
    if all(isinstance(item, str) for item in items):
        prompts = read_inputs(items, call.settings.limits, llm, parameter="inputs")
    elif all(isinstance(item, list) and len(item) == PAIR for item in items):
        check_sides(call.settings.limits, inputs=items)
        # Both texts of a pair are read as inputs, so that they are held to the limits of these.
        read_inputs([text for item in items for text in item], call.settings.limits, llm, parameter="inputs")
        prompts = [{"text": first, "text_pair": second} for first, second in items]
    else:
        raise ApiError(400, "`inputs` must be texts or pairs of texts, all of one kind", parameter="inputs")
    outputs = await llm.classify(
        prompts,
        pooling_params=PoolingParams(use_activation=not request.raw_scores),
        priority=call.priority,
        **request.options(),
    )
    found = [_labelled(output.outputs.array, llm) for output in outputs]
    return found if many else found[0]


async def rerank(request: TeiRerankRequest, llm: AsyncLLM, call: Call) -> list[dict[str, Any]]:
    """The texts, those that fit the query best first."""
    check_some(request.texts, "texts")
    check_sides(call.settings.limits, texts=request.texts)
    outputs = await llm.score(
        request.query,
        request.texts,
        pooling_params=PoolingParams(use_activation=not request.raw_scores),
        priority=call.priority,
        **request.options(),
    )
    ranks: list[dict[str, Any]] = []
    for place in ranked(outputs):
        rank: dict[str, Any] = {"index": place, "score": outputs[place].outputs.score}
        if request.return_text:
            rank["text"] = request.texts[place]
        ranks.append(rank)
    return ranks


async def similarity(request: TeiSimilarityRequest, llm: AsyncLLM, call: Call) -> list[float]:
    """How like a sentence others are."""
    check_some(request.inputs.sentences, "sentences")
    check_sides(call.settings.limits, sentences=request.inputs.sentences)
    outputs = await llm.score(
        request.inputs.source_sentence,
        request.inputs.sentences,
        priority=call.priority,
        **request.parameters.options(),
    )
    return [output.outputs.score for output in outputs]


async def tokenize(request: TeiTokenizeRequest, llm: AsyncLLM, call: Call) -> list[list[dict[str, Any]]]:
    """The tokens of texts, with their places in them."""
    check_inputs(request.inputs)
    tokenizer = llm.pipeline.ctx.tokenizer
    if tokenizer is None:
        raise ApiError(400, f"the model {llm.model_config.model!r} has no tokenizer", reason="unsupported")
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    check_size(texts, call.settings.limits, "inputs")
    prefix = llm.model_config.prompts.get(request.prompt_name, "") if request.prompt_name else ""

    def work() -> list[list[dict[str, Any]]]:
        prefixed = [prefix + text for text in texts]
        encoded = tokenizer.backend.encode_batch(prefixed, add_special_tokens=request.add_special_tokens)
        return [_tokens_of(encoding) for encoding in encoded]

    return await aside(work)


def _tokens_of(encoding: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": token,
            "text": text,
            "special": bool(special),
            "start": None if special else start,
            "stop": None if special else stop,
        }
        for token, text, special, (start, stop) in zip(
            encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True
        )
    ]


async def decode(request: TeiDecodeRequest, llm: AsyncLLM, call: Call) -> list[str]:
    """The texts of token ids."""
    tokenizer = llm.pipeline.ctx.tokenizer
    if tokenizer is None:
        raise ApiError(400, f"the model {llm.model_config.model!r} has no tokenizer", reason="unsupported")
    size = tokenizer.backend.get_vocab_size(with_added_tokens=True)
    rows: list[Any] = list(request.ids) if request.ids and isinstance(request.ids[0], list) else [request.ids]
    check_count(sum(map(len, rows)), call.settings.limits, "ids")
    unknown = next((token for row in rows for token in row if not 0 <= token < size), None)
    if unknown is not None:
        raise ApiError(400, f"token id {unknown} is not in the vocabulary: ids go from 0 to {size - 1}")
    decode = partial(tokenizer.decode, skip_special_tokens=request.skip_special_tokens)
    return await aside(lambda: [decode(row) for row in rows])


async def info(_: Any, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """What the default model is, and what a request may ask for."""
    config, limits = llm.model_config, call.settings.limits
    tasks = llm.supported_tasks
    kind: dict[str, Any] = {"embedding": {"pooling": (config.pooler_config.seq_pooling_type or "last").lower()}}
    if "classify" in tasks:
        labels = {str(place): name for place, name in enumerate(config.labels)}
        which = "reranker" if config.num_labels == 1 else "classifier"
        kind = {which: {"id2label": labels, "label2id": {name: int(place) for place, name in labels.items()}}}
    return {
        "model_id": config.model,
        "model_sha": None,
        "model_dtype": config.dtype,
        "model_type": kind,
        "max_concurrent_requests": 1024,
        "max_input_length": config.max_model_len,
        "max_batch_tokens": llm.engine.engine.scheduler.max_num_batched_tokens,
        "max_batch_requests": llm.engine.engine.scheduler.max_num_seqs,
        "max_client_batch_size": limits.inputs,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": millpond.__version__,
        "sha": None,
        "docker_label": None,
    }


async def root(request: dict[str, Any] | None, llm: AsyncLLM, call: Call) -> list[Any]:
    """What the default model is for: ranks, classes or vectors."""
    from millpond_server.body import validate  # noqa: PLC0415  bodies are validated by records everywhere else

    body = request if isinstance(request, dict) else {}
    if "texts" in body:
        return await rerank(validate(TeiRerankRequest, body), llm, call)  # type: ignore[arg-type]
    if "classify" in llm.supported_tasks:
        return await predict(validate(TeiPredictRequest, body), llm, call)  # type: ignore[arg-type]
    return await embed(validate(TeiEmbedRequest, body), llm, call)  # type: ignore[arg-type]


def _labelled(probs: Any, llm: AsyncLLM) -> list[dict[str, Any]]:
    labels = llm.model_config.labels
    order = np.argsort(-probs, kind="stable")
    names = [labels[place] if place < len(labels) else f"LABEL_{place}" for place in order]
    return [{"score": float(probs[place]), "label": name} for place, name in zip(order, names, strict=True)]
