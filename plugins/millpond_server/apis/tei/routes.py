"""Handlers of text-embeddings-inference's routes."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

import millpond
from millpond import AsyncLLM, PoolingParams
from millpond_server.apis.common.inputs import TEXTS_PER_PAIR, read_inputs
from millpond_server.apis.common.tokenizing import (
    check_count,
    check_size,
    check_vocabulary,
    run_in_thread,
    tokenizer_of,
)
from millpond_server.apis.tei import errors as tei_errors
from millpond_server.apis.tei.compute_headers import count_chars, with_compute_headers
from millpond_server.apis.tei.errors import (
    NOT_EMBEDDING_MODEL,
    backend_error,
    check_inputs,
    check_not_empty_list,
    check_task,
)
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
from millpond_server.apis.vllm.routes import check_list_lengths, ranked
from millpond_server.http.array_encoding import Array
from millpond_server.http.call import Call
from millpond_server.http.errors import ApiError

ERRORS = tei_errors.ERRORS
render_error = tei_errors.render_error
MIN_NORM = 1e-12  # vectors with a smaller norm are not normalized
SPLADE = "SPLADE"  # the prefix of pooling types that return sparse vectors


@with_compute_headers(lambda request: count_chars(request.inputs))
async def embed(request: TeiEmbedRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """Return one vector per text. ``dimensions`` truncates the vectors of any model, also of non-Matryoshka models."""
    check_task(llm, "embed")
    if request.normalize and is_splade(llm):
        raise backend_error("`normalize` is not available for SPLADE models")
    check_inputs(request.inputs)
    outputs = await llm.embed(
        read_inputs(request.inputs, call.settings.limits, llm, parameter="inputs"),
        pooling_params=PoolingParams(task="embed", use_activation=request.normalize),
        priority=call.priority,
        **request.options(),
    )
    arrays = (output.outputs.array for output in outputs)
    return [truncate_vector(array, request.dimensions, normalize=request.normalize) for array in arrays]


def truncate_vector(array: Array, dimensions: int | None, *, normalize: bool) -> Array:
    """Return the first dimensions of a vector, normalized again if requested.

    Raises:
        ApiError: 400 if the vector has fewer dimensions.
    """
    if dimensions is None or dimensions == len(array):
        return array
    if dimensions > len(array):
        message = f"`dimensions` must be from 1 to {len(array)}, the size of the model's vectors; got {dimensions}"
        raise ApiError(400, message, parameter="dimensions", reason="invalid")
    truncated = array[:dimensions]
    return truncated / max(float(np.linalg.norm(truncated)), MIN_NORM) if normalize else truncated


@with_compute_headers(lambda request: count_chars(request.inputs))
async def embed_all(request: TeiEmbedAllRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """Return one vector per token, from the model's last layer."""
    check_task(llm, "token_embed")
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


@with_compute_headers(lambda request: count_chars(request.inputs))
async def embed_sparse(request: TeiSparseRequest, llm: AsyncLLM, call: Call) -> list[list[dict[str, Any]]]:
    """Return the sparse vector of each text: weights of tokens of the vocabulary, by their ids."""
    check_task(llm, "embed_sparse")
    check_inputs(request.inputs)
    outputs = await llm.embed_sparse(
        read_inputs(request.inputs, call.settings.limits, llm, parameter="inputs"),
        max_active_dims=request.max_active_dims,
        input_type=request.encoder_input_type(llm)
        if llm.model_config.retrieval.static_query_weights is not None
        else None,
        priority=call.priority,
        **request.options(),
    )
    sparse_vectors = (output.outputs for output in outputs)
    return [
        [
            {"index": index, "value": value}
            for index, value in zip(vector.indices.tolist(), vector.values.tolist(), strict=True)
        ]
        for vector in sparse_vectors
    ]


@with_compute_headers(lambda request: count_chars(request.inputs))
async def predict(request: TeiPredictRequest, llm: AsyncLLM, call: Call) -> list[Any]:
    """Return the classes of texts and pairs, most probable first."""
    check_task(llm, "classify")
    check_inputs(request.inputs)
    is_batch = isinstance(request.inputs, list) and not isinstance(request.inputs[0], str)
    items = [_text_or_pair(item) for item in (request.inputs if is_batch else [request.inputs])]
    check_list_lengths(call.settings.limits, inputs=items)
    outputs = await llm.classify(
        read_inputs(items, call.settings.limits, llm, parameter="inputs", pairs=True),
        pooling_params=PoolingParams(use_activation=not request.raw_scores),
        priority=call.priority,
        **request.options(),
    )
    classes = [_with_labels(output.outputs.array, llm) for output in outputs]
    return classes if is_batch else classes[0]


def _text_or_pair(item: Any) -> str | list[str]:
    """Return an item as a text or a pair of texts; a list with one text is a text.

    Raises:
        ApiError: 400 if it is neither.
    """
    texts = [item] if isinstance(item, str) else item
    is_valid = isinstance(texts, list) and len(texts) in (1, TEXTS_PER_PAIR)
    if not is_valid or not all(isinstance(text, str) for text in texts):
        message = "`inputs` must be a text, a pair of texts, or a list of lists of one text or two"
        raise ApiError(400, message, parameter="inputs", reason="invalid")
    return texts[0] if len(texts) == 1 else texts


@with_compute_headers(lambda request: len(request.query) * len(request.texts) + count_chars(request.texts))
async def rerank(request: TeiRerankRequest, llm: AsyncLLM, call: Call) -> list[dict[str, Any]]:
    """Return the texts, most relevant first."""
    check_task(llm, "score")
    check_not_empty_list(request.texts, "texts")
    check_list_lengths(call.settings.limits, texts=request.texts)
    outputs = await llm.score(
        request.query,
        request.texts,
        pooling_params=PoolingParams(use_activation=not request.raw_scores),
        priority=call.priority,
        **request.options(),
    )
    ranks: list[dict[str, Any]] = []
    for index in ranked(outputs):
        rank: dict[str, Any] = {"index": index, "score": outputs[index].outputs.score}
        if request.return_text:
            rank["text"] = request.texts[index]
        ranks.append(rank)
    return ranks


@with_compute_headers(lambda request: count_chars([request.inputs.source_sentence, *request.inputs.sentences]))
async def similarity(request: TeiSimilarityRequest, llm: AsyncLLM, call: Call) -> list[float]:
    """Return the similarity of a sentence to each of the others."""
    check_task(llm, "score", NOT_EMBEDDING_MODEL)
    check_not_empty_list(request.inputs.sentences, "sentences")
    check_list_lengths(call.settings.limits, sentences=request.inputs.sentences)
    outputs = await llm.score(
        request.inputs.source_sentence,
        request.inputs.sentences,
        priority=call.priority,
        **request.parameters.options(),
    )
    return [output.outputs.score for output in outputs]


async def root(request: dict[str, Any] | None, llm: AsyncLLM, call: Call) -> Any:
    """Return the result of the default model's main task: ranks, classes, sparse vectors, or vectors."""
    from millpond_server.http.body import validate  # noqa: PLC0415  the only handler that validates its body

    body = request if isinstance(request, dict) else {}
    if "texts" in body:
        return await rerank(validate(TeiRerankRequest, body), llm, call)
    if "classify" in llm.supported_tasks:
        return await predict(validate(TeiPredictRequest, body), llm, call)
    if is_splade(llm):
        return await embed_sparse(validate(TeiSparseRequest, body), llm, call)
    return await embed(validate(TeiEmbedRequest, body), llm, call)


def _with_labels(probs: Any, llm: AsyncLLM) -> list[dict[str, Any]]:
    """Return the probabilities with their labels, most probable first."""
    labels = llm.model_config.labels
    order = np.argsort(-probs, kind="stable")
    names = [labels[index] if index < len(labels) else f"LABEL_{index}" for index in order]
    return [{"score": float(probs[index]), "label": name} for index, name in zip(order, names, strict=True)]


async def tokenize(request: TeiTokenizeRequest, llm: AsyncLLM, call: Call) -> list[list[dict[str, Any]]]:
    """Return the tokens of texts with their positions."""
    check_inputs(request.inputs)
    tokenizer = tokenizer_of(llm, 400)
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    check_size(texts, call.settings.limits, "inputs")
    prefix = _prompt_of(request, llm)

    def work() -> list[list[dict[str, Any]]]:
        prefixed = [prefix + text for text in texts]
        encoded = tokenizer.backend.encode_batch(prefixed, add_special_tokens=request.add_special_tokens)
        return [_tokens_of(encoding, text) for encoding, text in zip(encoded, prefixed, strict=True)]

    return await run_in_thread(work)


def _prompt_of(request: TeiTokenizeRequest, llm: AsyncLLM) -> str:
    """Return the model's prompt with the requested name.

    Raises:
        ApiError: 400 if the model has no prompt with that name.
    """
    prompts = llm.model_config.prompting.prompts
    if not request.prompt_name:
        return ""
    if request.prompt_name not in prompts:
        names = ", ".join(map(repr, prompts)) or "none"
        message = f"prompt_name={request.prompt_name!r}: the model has no prompt with that name. Available: {names}"
        raise ApiError(400, message, parameter="prompt_name", reason="invalid")
    return prompts[request.prompt_name]


def _tokens_of(encoding: Any, text: str) -> list[dict[str, Any]]:
    """Return the tokens with their part of the text; special tokens with their names and no position."""
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
    """Return the texts of token ids."""
    tokenizer = tokenizer_of(llm, 400)
    rows: list[Any] = list(request.ids) if request.ids and isinstance(request.ids[0], list) else [request.ids]
    check_count(sum(map(len, rows)), call.settings.limits, "ids")
    check_vocabulary(chain.from_iterable(rows), tokenizer)
    decode = partial(tokenizer.decode, skip_special_tokens=request.skip_special_tokens)
    return await run_in_thread(lambda: [decode(row) for row in rows])


async def info(_: Any, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """Return the description of the default model and the limits of requests."""
    config, limits = llm.model_config, call.settings.limits
    model_type: dict[str, Any] = {"embedding": {"pooling": _pooling(llm)}}
    if "classify" in llm.supported_tasks:
        id2label = {str(index): name for index, name in enumerate(config.labels)}
        label2id = {name: index for index, name in enumerate(config.labels)}
        type_name = "reranker" if config.classification.num_labels == 1 else "classifier"
        model_type = {type_name: {"id2label": id2label, "label2id": label2id}}
    return {
        "model_id": call.served.name if Path(config.model).is_absolute() else config.model,
        "served_model_name": call.served.name,
        "model_sha": None,
        "model_dtype": config.dtype,
        "model_type": model_type,
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
    """Return the pooling type, with text-embeddings-inference's name if it has one."""
    if is_splade(llm):
        return "splade"
    pooling_type = (llm.model_config.pooler_config.seq_pooling_type or "last").lower()
    return "last_token" if pooling_type == "last" else pooling_type


def is_splade(llm: AsyncLLM) -> bool:
    """Return True if the vectors of the model are weights of the vocabulary's tokens."""
    return (llm.model_config.pooler_config.seq_pooling_type or "").startswith(SPLADE)
