"""``GET /info`` of text-embeddings-inference."""

from pathlib import Path
from typing import Any

import millpond
from millpond import AsyncLLM
from millpond_server.apis.tei import errors as tei_errors
from millpond_server.http.call import Call

ERRORS = tei_errors.ERRORS
render_error = tei_errors.render_error
SPLADE = "SPLADE"  # how the types of pooling that give such weights begin


async def info(_: Any, llm: AsyncLLM, call: Call) -> dict[str, Any]:
    """What the default model is, and what a request may ask for."""
    config, limits = llm.model_config, call.settings.limits
    tasks = llm.supported_tasks
    kind: dict[str, Any] = {"embedding": {"pooling": _pooling(llm)}}
    if "classify" in tasks:
        labels = {str(place): name for place, name in enumerate(config.labels)}
        which = "reranker" if config.num_labels == 1 else "classifier"
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
