"""The routes of text-embeddings-inference that compute: bare lists, and errors in its words."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import millpond
from millpond import AsyncLLM, PoolingParams
from millpond_server.apis.common.inputs import PAIR, read_inputs
from millpond_server.apis.common.tokenizing import aside, check_count, check_size, check_vocabulary, tokenizer_of
from millpond_server.apis.tei import errors as tei_errors
from millpond_server.apis.tei.compute_headers import characters_in, with_compute_headers
from millpond_server.apis.tei.errors import NO_EMBEDDINGS, backend_error, check_inputs, check_serves, check_some
from millpond_server.apis.tei.schemas import (
    TeiDecodeRequest,
    TeiEmbedAllRequest,
    TeiEmbedRequest,
    TeiPredictRequest,
    TeiRerankRequest,
    TeiSimilarityRequest,
    TeiSparseRequest,
    TeiTokenizeRequest,
)
from millpond_server.apis.vllm.routes import check_sides, ranked
from millpond_server.http.array_encoding import Array
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

ERRORS = tei_errors.ERRORS
render_error = tei_errors.render_error
SHORTEST = 1e-12  # a vector that is shorter is not brought to length 1


@with_compute_headers(lambda request: characters_in(request.inputs))
async def embed(request: TeiEmbedRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """One vector a text."""
    return await _vectors(request, llm, call, dimensions=request.dimensions)


@with_compute_headers(lambda request: characters_in(request.inputs))
async def embed_cut(request: TeiEmbedRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """One vector a text; ``dimensions`` cuts those of any model, also of one that was not trained for it."""
    arrays = await _vectors(request, llm, call)
    return [cut(array, request.dimensions, normalize=request.normalize) for array in arrays]


async def _vectors(
    request: TeiEmbedRequest, llm: AsyncLLM, call: Call, *, dimensions: int | None = None
) -> list[Array]:
    check_serves(llm, "embed")
    if request.normalize and is_splade(llm):
        raise backend_error("`normalize` is not available for SPLADE models")
    check_inputs(request.inputs)
    outputs = await llm.embed(
        read_inputs(request.inputs, call.settings.limits, llm, parameter="inputs"),
        pooling_params=PoolingParams(dimensions=dimensions, use_activation=request.normalize),
        priority=call.priority,
        **request.options(),
    )
    return [output.outputs.array for output in outputs]


def cut(array: Array, dimensions: int | None, *, normalize: bool) -> Array:
    """The first dimensions of a vector, of length 1 again where it is normalised.

    Raises:
        ApiError: 400 if it has fewer.
    """
    if dimensions is None or dimensions == len(array):
        return array
    if dimensions > len(array):
        message = f"`dimensions` must be from 1 to {len(array)}, the size of the model's vectors; got {dimensions}"
        raise ApiError(400, message, parameter="dimensions", reason="invalid")
    kept = array[:dimensions]
    return kept / max(float(np.linalg.norm(kept)), SHORTEST) if normalize else kept


@with_compute_headers(lambda request: characters_in(request.inputs))
async def embed_all(request: TeiEmbedAllRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """One vector a token, as the model's last layer gives it."""
    check_serves(llm, "token_embed")
    if is_splade(llm):
        raise backend_error("`embed_all` is not available for SPLADE models")
    check_inputs(request.inputs)
    outputs = await llm.encode(
        read_inputs(request.inputs, call.settings.limits, llm, parameter="inputs"),
        PoolingParams(use_activation=False),
        pooling_task="token_embed",
        priority=call.priority,
        **request.options(),
    )
    return [output.outputs.array for output in outputs]


@with_compute_headers(lambda request: characters_in(request.inputs))
async def embed_sparse(request: TeiSparseRequest, llm: AsyncLLM, call: Call) -> list[list[dict[str, Any]]]:
    """The weights of tokens of the vocabulary, by their ids, a list a text."""
    check_serves(llm, "embed_sparse")
    check_inputs(request.inputs)
    outputs = await llm.embed_sparse(
        read_inputs(request.inputs, call.settings.limits, llm, parameter="inputs"),
        max_active_dims=request.max_active_dims,
        input_type=request.side(llm) if llm.model_config.retrieval.static_query_weights is not None else None,
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


@with_compute_headers(lambda request: characters_in(request.inputs))
async def predict(request: TeiPredictRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """The classes of texts and of pairs of texts, most probable first."""
    check_serves(llm, "classify")
    check_inputs(request.inputs)
    many = isinstance(request.inputs, list) and not isinstance(request.inputs[0], str)
    items = [_one_or_two(item) for item in (request.inputs if many else [request.inputs])]
    check_sides(call.settings.limits, inputs=items)
    outputs = await llm.classify(
        read_inputs(items, call.settings.limits, llm, parameter="inputs", pairs=True),
        pooling_params=PoolingParams(use_activation=not request.raw_scores),
        priority=call.priority,
        **request.options(),
    )
    found = [_labelled(output.outputs.array, llm) for output in outputs]
    return found if many else found[0]


def _one_or_two(item: Any) -> str | list[str]:
    """A text, also one that stands alone in a list, or a pair of texts.

    Raises:
        ApiError: 400 if it is neither.
    """
    texts = [item] if isinstance(item, str) else item
    if not isinstance(texts, list) or len(texts) not in (1, PAIR) or not all(isinstance(text, str) for text in texts):
        message = "`inputs` must be a text, a pair of texts, or a list of lists of one text or two"
        raise ApiError(400, message, parameter="inputs", reason="invalid")
    return texts[0] if len(texts) == 1 else texts


@with_compute_headers(lambda request: len(request.query) * len(request.texts) + characters_in(request.texts))
async def rerank(request: TeiRerankRequest, llm: AsyncLLM, call: Call) -> list[dict[str, Any]]:
    """The texts, those that fit the query best first."""
    check_serves(llm, "score")
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


@with_compute_headers(lambda request: characters_in([request.inputs.source_sentence, *request.inputs.sentences]))
async def similarity(request: TeiSimilarityRequest, llm: AsyncLLM, call: Call) -> list[float]:
    """How like a sentence others are."""
    check_serves(llm, "score", NO_EMBEDDINGS)
    check_some(request.inputs.sentences, "sentences")
    check_sides(call.settings.limits, sentences=request.inputs.sentences)
    outputs = await llm.score(
        request.inputs.source_sentence,
        request.inputs.sentences,
        priority=call.priority,
        **request.parameters.options(),
    )
    return [output.outputs.score for output in outputs]


async def root(request: dict[str, Any] | None, llm: AsyncLLM, call: Call) -> Any:
    """What the default model is for: ranks, classes, weights of tokens, or vectors."""
    from millpond_server.http.body import validate  # noqa: PLC0415  bodies are validated by records everywhere else

    body = request if isinstance(request, dict) else {}
    if "texts" in body:
        return await rerank(validate(TeiRerankRequest, body), llm, call)
    if "classify" in llm.supported_tasks:
        return await predict(validate(TeiPredictRequest, body), llm, call)
    if is_splade(llm):
        return await embed_sparse(validate(TeiSparseRequest, body), llm, call)
    return await embed(validate(TeiEmbedRequest, body), llm, call)


def _labelled(probs: Any, llm: AsyncLLM) -> list[dict[str, Any]]:
    labels = llm.model_config.labels
    order = np.argsort(-probs, kind="stable")
    names = [labels[place] if place < len(labels) else f"LABEL_{place}" for place in order]
    return [{"score": float(probs[place]), "label": name} for place, name in zip(order, names, strict=True)]


async def tokenize(request: TeiTokenizeRequest, llm: AsyncLLM, call: Call) -> list[list[dict[str, Any]]]:
    """The tokens of texts, with their places in them."""
    check_inputs(request.inputs)
    tokenizer = tokenizer_of(llm, 400)
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    check_size(texts, call.settings.limits, "inputs")
    prefix = _prompt_of(request, llm)

    def work() -> list[list[dict[str, Any]]]:
        prefixed = [prefix + text for text in texts]
        encoded = tokenizer.backend.encode_batch(prefixed, add_special_tokens=request.add_special_tokens)
        return [_tokens_of(encoding, text) for encoding, text in zip(encoded, prefixed, strict=True)]

    return await aside(work)


def _prompt_of(request: TeiTokenizeRequest, llm: AsyncLLM) -> str:
    """The model's prompt that the body names.

    Raises:
        ApiError: 400 if the model has no prompt of that name.
    """
    prompts = llm.model_config.prompting.prompts
    if not request.prompt_name:
        return ""
    if request.prompt_name not in prompts:
        there = ", ".join(map(repr, prompts)) or "none"
        message = f"prompt_name={request.prompt_name!r}: the model has no prompt of that name; there are: {there}"
        raise ApiError(400, message, parameter="prompt_name", reason="invalid")
    return prompts[request.prompt_name]


def _tokens_of(encoding: Any, text: str) -> list[dict[str, Any]]:
    """The tokens with the letters of the text that each stands for; special ones with their names, and no place."""
    return [
        {
            "id": token,
            "text": name if special else text[start:stop],
            "special": bool(special),
            "start": None if special else start,
            "stop": None if special else stop,
        }
        for token, name, special, (start, stop) in zip(
            encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True
        )
    ]


async def decode(request: TeiDecodeRequest, llm: AsyncLLM, call: Call) -> list[str]:
    """The texts of token ids."""
    tokenizer = tokenizer_of(llm, 400)
    rows: list[Any] = list(request.ids) if request.ids and isinstance(request.ids[0], list) else [request.ids]
    check_count(sum(map(len, rows)), call.settings.limits, "ids")
    check_vocabulary(chain.from_iterable(rows), tokenizer)
    decode = partial(tokenizer.decode, skip_special_tokens=request.skip_special_tokens)
    return await aside(lambda: [decode(row) for row in rows])


SPLADE = "SPLADE"  # how the types of pooling that give such weights begin


async def info(_: Any, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """What the default model is, and what a request may ask for."""
    config, limits = llm.model_config, call.settings.limits
    tasks = llm.supported_tasks
    kind: dict[str, Any] = {"embedding": {"pooling": _pooling(llm)}}
    if "classify" in tasks:
        labels = {str(place): name for place, name in enumerate(config.labels)}
        which = "reranker" if config.classification.num_labels == 1 else "classifier"
        kind = {which: {"id2label": labels, "label2id": {name: int(place) for place, name in labels.items()}}}
    return {
        "model_id": call.served.name if Path(config.model).is_absolute() else config.model,
        "served_model_name": call.served.name,
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


def _pooling(llm: AsyncLLM) -> str:
    """How vectors are pooled, by the names of text-embeddings-inference where it has one."""
    if is_splade(llm):
        return "splade"
    named = (llm.model_config.pooler_config.seq_pooling_type or "last").lower()
    return "last_token" if named == "last" else named


def is_splade(llm: AsyncLLM) -> bool:
    """Whether the vectors of a model are weights of the vocabulary's tokens."""
    return (llm.model_config.pooler_config.seq_pooling_type or "").startswith(SPLADE)
