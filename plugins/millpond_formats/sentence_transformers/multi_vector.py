"""How a MultiVectorEncoder of sentence-transformers reads queries and documents, and which vectors it keeps."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from millpond.types.checkpoint import ModuleFacts
from millpond.types.errors import CheckpointError
from millpond.types.late_interaction import LateInteraction, QueryDocumentConfig, TokenPooling
from millpond_formats.sentence_transformers.module import positive
from millpond_formats.sentence_transformers.vectors import FEWER, MASK
from millpond_formats.values import bounded, count_at, expansion_of

MULTI_VECTOR = "MultiVectorEncoder"


def read_multi_vector(
    modules: tuple[ModuleFacts, ...], prompts: Mapping[str, str], limits: Mapping[str, Any], path: Path
) -> LateInteraction:
    """How queries and documents are read.

    Args:
        modules: The modules of the model.
        prompts: Its named prompts.
        limits: What the file says of how the tokenizer is called.
        path: That file, for errors.

    Raises:
        CheckpointError: If a file states what is not supported.
    """
    mask = next((module for module in modules if module.type == MASK), None)
    pooling = _pooling(modules)
    query, document = (
        QueryDocumentConfig(
            prompt=prompts.get(role, ""),
            length=count_at(limits, f"{role}_length", path),
            skipped=_skipped(mask, role),
            only=_only(mask) if role == "document" else (),
            pooling=pooling.get(role),
        )
        for role in ("query", "document")
    )
    said = LateInteraction(query=query, document=document, expansion=expansion_of(limits.get("query_expansion"), path))
    return bounded(said, positive(limits.get("max_seq_length")))


def _skipped(mask: ModuleFacts | None, role: str) -> tuple[str, ...]:
    """The words whose vectors are left out of a query, or of a document."""
    if mask is None or role not in (mask.config.get("skiplist_tasks") or ("document",)):
        return ()
    return _words(mask.config.get("skiplist_words"))


def _only(mask: ModuleFacts | None) -> tuple[int, ...]:
    """The ids of the tokens that documents are reduced to; empty for all of them."""
    if mask is None:
        return ()
    ids = mask.config.get("keep_only_token_ids") or []
    if not isinstance(ids, list) or not all(isinstance(token, int) and not isinstance(token, bool) for token in ids):
        message = f"{mask.path / 'config.json'}: keep_only_token_ids must be a list of token ids; got {ids!r}"
        raise CheckpointError(message)
    return tuple(ids)


def _pooling(modules: Iterable[ModuleFacts]) -> Mapping[str, TokenPooling]:
    """How the vectors of queries, or of documents, become fewer, by the module that does it."""
    module = next((module for module in modules if module.type == FEWER), None)
    if module is None:
        return {}
    said, path = module.config, module.path / "config.json"
    factor, protected = said.get("pool_factor", 1.0), said.get("num_protected_tokens", 1)
    right = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (factor, protected))
    if not right or factor < 1 or protected < 0:
        message = f"{path}: pool_factor must be a number from 1 on, num_protected_tokens one from 0 on; got {said}"
        raise CheckpointError(message)
    normalizes = bool(said.get("normalize_embeddings", False))
    pooling = TokenPooling(factor=float(factor), protected=int(protected), normalizes=normalizes)
    return dict.fromkeys(_words(said.get("tasks", ["document"])), pooling)


def _words(said: Iterable[object] | None) -> tuple[str, ...]:
    return tuple(word for word in said or () if isinstance(word, str))
